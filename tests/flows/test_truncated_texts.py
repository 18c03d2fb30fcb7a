"""That texts are longer than the backbone reads is said in the log, on the run's page and on the model card."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.learning import make_candidate
from flows.model_card import model_card
from flows.records import RunRecord
from flows.run_report import report_run
from flows.session import Session
from pipelines.import_data import import_samples
from pipelines.stages import Stages
from pipelines.truncation import read_truncation
from pipelines.workspace import Workspace
from tests.flows.report.conftest import START
from tests.flows.report.test_card import judgement
from tests.pipelines.tiny_texts import backbone_entry, sentences, text_config, write_model, write_table


def run_step(name: str, function: Callable[..., Any], *arguments: object) -> Any:
    return function(*arguments)


@pytest.mark.slow
@pytest.mark.parametrize(("max_tokens", "is_cut"), [(16, True), (64, False)])
def test_long_texts_are_said_aloud(tmp_path: Path, caplog: pytest.LogCaptureFixture, max_tokens: int, is_cut: bool) -> None:
    import_samples(write_table(tmp_path / "source.csv", sentences(120)), tmp_path / "w" / "data", task="text")
    folder = write_model(tmp_path / "model")
    config = text_config(folder, backbone=backbone_entry(folder, max_tokens=max_tokens), zero_shot={"enabled": False})
    session = Session(Workspace(tmp_path / "w"), config)
    with caplog.at_level(logging.WARNING, logger="flows.learning"):
        candidate = make_candidate(Stages(session.workspace, config), "0" * 32 + ".dir", run_step)
    said = read_truncation(candidate.outputs["truncation"].path).in_words
    assert ("of the tokens" in said) == is_cut
    lines = [row.getMessage() for row in caplog.records if row.getMessage().startswith("The data:") and "tokens" in row.getMessage()]
    next_step = "Next: raise backbone.max_tokens where the backbone allows it, or cut the texts yourself."
    assert lines == ([f"The data: {said} {next_step}"] if is_cut else [])
    card = model_card(config, candidate, judgement())
    assert f"- {said}" in card
    record = RunRecord(run="cut", project=config.project, trigger="person", started=START, finished=START, outcome="refused", reason="No.")
    page = Path(report_run(session, record, candidate, None, card, run_step).reports["run"]).read_text(encoding="utf-8")
    assert f"<p>{said}</p>" in page
