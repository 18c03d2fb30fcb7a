from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pipelines.config import LicenceGate
from pipelines.core.bundle import read_manifest, seal
from pipelines.core.errors import IntegrityError
from pipelines.gates.licence import licence

RULE = LicenceGate(kind="licence", weights=("Apache-2.0", "MIT"), data=("CC-BY-4.0",))


@pytest.fixture
def licensed(sealed_bundle: Path, tmp_path: Path):
    """A bundle with the given licences."""

    def make(weights: str, data: str | None) -> Path:
        folder = tmp_path / "bundle"
        shutil.copytree(sealed_bundle, folder)
        manifest, _ = read_manifest(folder)
        (folder / "lineage.json").write_text(json.dumps({"config": {"data": {"licence": data}}}))
        seal(folder, manifest.model_copy(update={"backbone": manifest.backbone.model_copy(update={"licence": weights})}))
        return folder

    return make


@pytest.mark.parametrize(("weights", "data"), [("MIT", "CC-BY-4.0"), ("apache-2.0", " cc-by-4.0 ")])
def test_allowed_licences_pass_whatever_their_case(licensed, weights: str, data: str) -> None:
    assert [decision.outcome for decision in licence(RULE, licensed(weights, data))] == ["pass", "pass"]


@pytest.mark.parametrize(
    ("weights", "data", "outcomes"), [("CC-BY-NC-4.0", "CC-BY-4.0", ["refuse", "pass"]), ("MIT", "CC-BY-NC-4.0", ["pass", "refuse"])]
)
def test_a_forbidden_licence_refuses(licensed, weights: str, data: str, outcomes: list[str]) -> None:
    decisions = licence(RULE, licensed(weights, data))
    assert [decision.outcome for decision in decisions] == outcomes
    refused = next(decision for decision in decisions if decision.outcome == "refuse")
    assert "is CC-BY-NC-4.0; allowed are" in refused.reason
    assert refused.detail["licence"] == "CC-BY-NC-4.0"


def test_part_of_a_name_is_not_the_name(licensed) -> None:
    assert licence(RULE, licensed("MIT-0", "CC-BY-4.0"))[0].outcome == "refuse"


@pytest.mark.parametrize("unknown", ["unknown", "", "Other", "NOASSERTION"])
def test_what_nobody_stated_refuses_with_a_next_step(licensed, unknown: str) -> None:
    generous = LicenceGate(kind="licence", weights=("MIT", "unknown", "other"), data=("CC-BY-4.0",))
    weights, data = licence(generous, licensed(unknown, None))
    assert (weights.outcome, data.outcome) == ("refuse", "refuse")
    assert "is not stated" in weights.reason
    assert "in the JSON file beside the weights" in weights.reason
    assert data.reason == "the licence of the data is not stated; state it as `data.licence` in the conf file."


def test_a_bundle_without_lineage_is_no_bundle(sealed_bundle: Path) -> None:
    with pytest.raises(IntegrityError, match=r"lineage\.json does not say.*Next: package it again"):
        licence(RULE, sealed_bundle)
