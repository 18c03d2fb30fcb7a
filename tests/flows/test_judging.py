from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from flows.judging import drifted_domains, withdrawal
from pipelines.conf_template import ConfDefaults, render_conf
from pipelines.config import ProjectConfig, load_config
from pipelines.versioning.registry import ChampionRecord


def champion(version: str, bundle: str, kind: str = "promote") -> ChampionRecord:
    return ChampionRecord(
        project="p",
        version=version,
        bundle_id=bundle,
        dataset_digest="0.dir",
        commit="0" * 40,
        promoted_at=datetime(2026, 1, 1, 12, tzinfo=UTC),
        promoted_by="Test",
        kind=kind,  # type: ignore[arg-type]
        why="worse on scanner 3",
        evidence={},
        tag=f"p#prod#{version}",
    )


def test_a_bundle_that_was_rolled_back_does_not_come_back_by_itself() -> None:
    history = [champion("v0.0.1", "a"), champion("v0.0.2", "b"), champion("v0.0.1", "a", "rollback")]
    refusal = withdrawal(history, "b")
    assert refusal is not None
    for part in ("v0.0.2", "rolled back on 2026-01-01 12:00 UTC", "worse on scanner 3", "regraft promote v0.0.2 --why"):
        assert part in refusal


@pytest.mark.parametrize(
    "history",
    [
        [],
        [champion("v0.0.1", "a")],
        [champion("v0.0.2", "b")],
        [champion("v0.0.2", "b"), champion("v0.0.3", "c")],
        [champion("v0.0.2", "b"), champion("v0.0.1", "a", "rollback"), champion("v0.0.2", "b")],
    ],
)
def test_other_histories_withdraw_nothing(history: list[ChampionRecord]) -> None:
    assert withdrawal(history, "b") is None


@pytest.fixture
def config(tmp_path: Path) -> ProjectConfig:
    (tmp_path / "p.yaml").write_text(render_conf("my-photos", "image", ["a", "b"], 100, ConfDefaults("A minute.")))
    return load_config(tmp_path / "p.yaml")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    (tmp_path / "lineage.json").write_text(json.dumps({"train_domains": {"old": 100}}))
    return tmp_path


def test_a_stray_domain_does_not_block_the_drifted_one(config: ProjectConfig, bundle: Path) -> None:
    assert drifted_domains(config, bundle, ["old"] * 100 + ["new"] * 40 + ["typo"]) == ("new",)


def test_a_small_new_domain_counts_where_no_other_is_new(config: ProjectConfig, bundle: Path) -> None:
    assert drifted_domains(config, bundle, ["old"] * 100 + ["new"] * 5) == ("new",)
    assert drifted_domains(config, bundle, ["old"] * 100) == ()
