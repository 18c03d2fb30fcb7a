from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from flows.learning import Candidate, warn_of_weights
from flows.learning_report import LearningReport, read_learning
from flows.model_card import _chosen_backbone, _method
from pipelines.config import LoraMethod
from pipelines.store import StageOutput
from tests.flows.conftest import project_config


def output(folder: Path, name: str, **files: object) -> StageOutput:
    folder.mkdir()
    for file, content in files.items():
        (folder / f"{file}.json").write_text(json.dumps(content))
    return StageOutput(name, "0" * 64, folder, cached=False, seconds=1.0)


def test_nothing_is_read_where_the_run_did_not_get_that_far() -> None:
    assert read_learning(None, None) == LearningReport()


def test_costs_stand_beside_their_ways_and_candidates(tmp_path: Path) -> None:
    tried = [{"way": "probe", "outcome": "kept"}, {"way": "lp_ft", "outcome": "skipped"}]
    trained = output(tmp_path / "train", "train", training={"method": "auto", "kept": "probe", "tried": tried}, costs={"probe": 2.0})
    ranking = {"reason": "kept one: because", "candidates": [{"backbone": "one"}, {"backbone": "two"}]}
    selected = output(tmp_path / "select", "select", ranking=ranking, costs={"one: features": 1.0, "one: probe": 0.5, "two: features": 3.0})
    learning = read_learning(trained.path, selected.path)
    assert [way["seconds"] for way in learning.ways] == [2.0, None]
    assert [row["seconds"] for row in learning.ranking] == [1.5, 3.0]
    assert learning.kept == "probe"


def test_the_card_names_the_choices_of_auto_and_of_the_ranking_and_nothing_else(tmp_path: Path) -> None:
    training = {"method": "auto", "kept": "probe", "reason": "kept probe: because"}
    ranking = {"reason": "kept one: it is better", "candidates": [{"backbone": "one"}, {"backbone": "two"}]}
    chosen = Candidate(
        tmp_path,
        "0",
        {"train": output(tmp_path / "a", "train", training=training), "select": output(tmp_path / "b", "select", ranking=ranking)},
    )
    config = project_config("toy")
    assert _method(config, chosen) == "Method `probe`: kept probe: because (validation)"
    assert _chosen_backbone(chosen) == "; chosen among 2: kept one: it is better"
    plain = Candidate(
        tmp_path, "0", {"train": output(tmp_path / "c", "train", training={"method": "probe"}), "select": output(tmp_path / "d", "select")}
    )
    assert _method(config, plain) == "Method `probe`"
    assert _chosen_backbone(plain) == ""


def test_what_adapters_trained_is_said_in_the_report_and_the_card(tmp_path: Path) -> None:
    adapters = {"rank": 8, "n_layers": 24, "n_trained": 12_345, "n_all": 1_000_000, "trained_frac": 0.012345}
    trained = output(tmp_path / "train", "train", training={"method": "lora", "adapters": adapters})
    share = "12,345 of 1,000,000 numbers (1.2 %): adapters of rank 8 beside 24 layers, merged afterwards, and the head"
    assert read_learning(trained.path).trained_share == share
    assert LearningReport().trained_share == ""
    config = project_config("toy").model_copy(update={"method": LoraMethod(kind="lora")})
    assert _method(config, Candidate(tmp_path, "0", {"train": trained})) == f"Method `lora`: trained were {share}"


def test_what_looks_wrong_about_the_weights_is_one_line_of_the_log_each(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    findings = [{"check": check, "got": f"{check} is off.", "next_step": "look."} for check in ("padding", "layers")]
    with caplog.at_level(logging.WARNING):
        warn_of_weights(output(tmp_path / "checked", "check_weights", sanity={"findings": findings}))
    assert [record.getMessage() for record in caplog.records] == [
        "The backbone's padding: padding is off. Next: look.",
        "The backbone's layers: layers is off. Next: look.",
    ]
