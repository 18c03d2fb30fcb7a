"""The model card of real outputs, read again by huggingface_hub and shown as HTML."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard

from flows.model_card import model_card, write_card_page
from flows.report.card_header import card_data
from pipelines.config import CardSection, ProjectConfig, TimmBackbone
from pipelines.core.bundle import read_manifest
from pipelines.gates.decision import Decision, Judgement
from tests.flows.report.conftest import candidate_of, check_self_contained
from tests.pipelines.small_run import DATASET, SmallRun


def judgement() -> Judgement:
    return Judgement.of(
        [
            Decision(gate="min_metric", condition="accuracy | 50 %", outcome="pass", statistic=0.9, n=60, reason="54 of 60 <b>right</b>"),
        ]
    )


def card_of(run: SmallRun, config: ProjectConfig | None = None) -> str:
    return model_card(config or run.config, candidate_of(run), judgement())


def with_card(config: ProjectConfig, **card: object) -> ProjectConfig:
    return config.model_copy(update={"card": CardSection.model_validate(card)})


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a card needs no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def test_huggingface_hub_reads_the_metadata_back(run: SmallRun, no_network: None) -> None:
    text = card_of(run)
    card = ModelCard(text)
    evaluation = json.loads((run.outputs["evaluate"].path / "evaluation.json").read_bytes())
    assert str(card) == text
    assert (card.data.license, card.data.library_name, card.data.pipeline_tag) == ("unknown", "timm", "image-classification")
    assert card.data.datasets == ["tiny-digits"]
    assert {"regraft", "tiny-digits", "test_resnet"} <= set(card.data.tags)
    assert "base_model" not in yaml.safe_load(text.split("---\n")[1])  # a file is no model of the Hub
    accuracy = next(result for result in card.data.eval_results if result.metric_type == "accuracy")
    assert accuracy.metric_value == round(evaluation["accuracy"]["value"], 4)
    assert accuracy.metric_args["n"] == evaluation["accuracy"]["n"]
    assert accuracy.metric_args["low"] == round(evaluation["accuracy"]["low"], 4)
    assert (accuracy.dataset_split, accuracy.dataset_revision) == ("test", DATASET)


def test_every_section_is_there_and_what_nobody_said_is_said_to_be_not_said(run: SmallRun) -> None:
    text = card_of(run)
    for section in (
        "Intended use",
        "Out of scope",
        "Owners",
        "Measured",
        "Gates",
        "Data",
        "Training",
        "Limits",
        "Cost",
        "How to reproduce",
    ):
        assert f"\n## {section}" in text
    for key in ("card.intended_use", "card.out_of_scope", "card.owners", "card.licence", "card.citation", "data.licence"):
        assert key in text
    for part in (
        DATASET,
        "| all | all |",
        "Fewer than 50 test samples",
        "names no columns in `data.slices`",
        "Energy and emissions: not measured",
    ):
        assert part in text


def test_what_a_person_says_is_shown_as_it_is_written(run: SmallRun, tmp_path: Path) -> None:
    said = {
        "intended_use": "Sorting <mail>.\n\nNot for [exams](http://example.invalid/x).",
        "out_of_scope": "# Medicine\n![x](http://example.invalid/x.png)",
        "owners": ["The *mail* team | mail@example.invalid"],
        "licence": "Apache-2.0",
        "citation": "Doe & Roe `2026`",
    }
    card = card_of(run, with_card(run.config, **said))
    page = tmp_path / "card.html"
    write_card_page(page, "card", card)
    check_self_contained(page)
    text = page.read_text(encoding="utf-8")
    for part in (
        "Sorting &lt;mail&gt;.",
        "<p>Not for [exams](http://example.invalid/x).</p>",
        "# Medicine",
        "The *mail* team | mail@example.invalid",
        "Doe &amp; Roe `2026`",
    ):
        assert part in text
    assert "<h1># " not in text
    assert "Not stated" not in text.split("<h2>Measured")[0]
    assert ModelCard(card).data.license == "apache-2.0"


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        (None, {"license": "unknown"}),
        ("CC-BY-NC-4.0", {"license": "cc-by-nc-4.0"}),
        ("Our own terms", {"license": "other", "license_name": "our-own-terms"}),
    ],
)
def test_licences_are_those_that_the_hub_knows(run: SmallRun, stated: str | None, expected: dict[str, str]) -> None:
    manifest, _ = read_manifest(run.bundle)
    evaluation = json.loads((run.outputs["evaluate"].path / "evaluation.json").read_bytes())
    found: Any = card_data(with_card(run.config, licence=stated), manifest, evaluation, DATASET).to_dict()
    assert {key: found[key] for key in found if key.startswith("license")} == expected


def test_a_backbone_of_the_hub_is_its_base_model(run: SmallRun) -> None:
    manifest, _ = read_manifest(run.bundle)
    evaluation = json.loads((run.outputs["evaluate"].path / "evaluation.json").read_bytes())
    origin = f"timm/resnet18.a1_in1k@{'0' * 40}"
    found = card_data(
        run.config, manifest.model_copy(update={"backbone": manifest.backbone.model_copy(update={"origin": origin})}), evaluation, DATASET
    )
    assert found.base_model == "timm/resnet18.a1_in1k"
    assert isinstance(run.config.backbone, TimmBackbone)


def test_the_card_is_drawn_as_a_table_and_not_as_markdown(run: SmallRun, tmp_path: Path) -> None:
    write_card_page(tmp_path / "card.html", "card", card_of(run))
    text = (tmp_path / "card.html").read_text(encoding="utf-8")
    assert "<td>all</td>" in text
    assert "| all |" not in text
    assert "<strong>pass</strong> min_metric, accuracy | 50 %: 54 of 60 &lt;b&gt;right&lt;/b&gt;" in text
    assert "library_name: timm" in text.split("<details>")[1]


@pytest.mark.parametrize("wrong", [{"intended_use": "  "}, {"owner": "x"}, {"owners": [""]}])
def test_a_wrong_section_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        CardSection.model_validate(wrong)
