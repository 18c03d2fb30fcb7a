"""What needs no training stands beside the model: in the page of a run, and in its record."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows.learning_report import LearningReport
from flows.records import RunRecord
from flows.report.content import ReportFolders
from flows.run_report import publish_run, report_run
from flows.session import Session
from pipelines.answers import read_answers
from pipelines.dataset import read_samples
from pipelines.import_data import import_samples
from pipelines.intervals import clopper_pearson
from pipelines.stages import Stages
from pipelines.workspace import Workspace
from tests.flows.report.conftest import candidate_of, check_self_contained, record_of
from tests.flows.report.test_card import card_of
from tests.pipelines.small_run import SmallRun
from tests.pipelines.tiny_texts import sentences, text_config, write_model, write_table

HOSTILE = "<script>alert(1)</script>"


def run_step(name: str, function: Callable[..., Any], *arguments: object) -> Any:
    return function(*arguments)


def section_of(text: str) -> str:
    return text.split("<h2>Beside what needs no training</h2>")[1].split("</section>")[0]


def shown(run: SmallRun, folder: Path, name: str, **content: object) -> tuple[RunRecord, str]:
    """The page with what `content` says in the place of the stage's output."""
    (folder / "zero_shot.json").write_text(json.dumps(content))
    folders = ReportFolders(evaluate=run.outputs["evaluate"].path, split=run.outputs["split"].path, zero_shot=folder)
    published = publish_run(run.stages.workspace, record_of(run, run=name), LearningReport(), folders=folders)
    page = Path(published.reports["run"])
    check_self_contained(page)
    return published, page.read_text(encoding="utf-8")


def test_label_names_have_a_row_with_their_interval(run: SmallRun, tmp_path: Path) -> None:
    accuracy = {"value": 0.45, "low": 0.32, "high": 0.58, "n": 60}
    content = {
        "outcome": "measured",
        "reason": "",
        "network": "model",
        "wordings": {"0": [HOSTILE], "1": ["one", "1"]},
        "accuracy": accuracy,
    }
    record, text = shown(run, tmp_path, "names", **content)
    row = next(part for part in section_of(text).split("<tr>") if "label names (zero-shot)" in part)
    assert "45.0 % (32.0 to 58.0)" in row
    assert "by model (“&lt;script&gt;alert(1)&lt;/script&gt;”, “one”)" in row
    assert record.baselines["zero_shot"].model_dump() == accuracy


def test_where_they_mean_nothing_the_reason_stands_in_their_place(run: SmallRun, tmp_path: Path) -> None:
    record, text = shown(run, tmp_path, "reason", outcome="not_applicable", reason="a sample has any <number> of labels")
    assert "not measured: a sample has any &lt;number&gt; of labels" in section_of(text)
    assert set(record.baselines) == {"majority"}


def test_the_commonest_label_of_the_training_split_is_counted_on_the_test_split(run: SmallRun) -> None:
    """With NumPy; an image run without a CLIP has no row of label names."""
    published = report_run(Session(run.stages.workspace, run.config), record_of(run, run="plain"), candidate_of(run), None, "", run_step)
    samples = read_samples(run.outputs["split"].path / "samples.csv")
    label = Counter(sample.label for sample in samples if sample.split == "train").most_common(1)[0][0]
    answers = read_answers(run.outputs["evaluate"].path / "predictions.csv")
    n_hits = int(np.sum(answers.labels == label))
    expected = clopper_pearson(n_hits, answers.n)
    assert published.baselines["majority"].model_dump() == {
        "value": n_hits / answers.n,
        "low": expected.low,
        "high": expected.high,
        "n": answers.n,
    }
    assert set(published.baselines) == {"majority"}
    text = section_of(Path(published.reports["run"]).read_text(encoding="utf-8"))
    assert f"always {label}, the commonest of the training split" in text
    assert "zero-shot" not in text
    assert "zero_shot" not in published.stages_seconds
    assert f"Beside it, always {label}, the commonest of the training split: {100 * n_hits / answers.n:.1f} %" in card_of(run)


def text_run(root: Path, **changes: object) -> SmallRun:
    import_samples(write_table(root / "source.csv", sentences(120)), root / "w" / "data", task="text")
    stages = Stages(Workspace(root / "w"), text_config(write_model(root / "model"), **changes))
    dataset = hashlib.sha256(b"").hexdigest()
    outputs = {"split": stages.split(stages.manifest(dataset)), "select": stages.select()}
    outputs["train"] = stages.train(outputs["split"], outputs["select"])
    outputs["calibrate"] = stages.calibrate(outputs["train"])
    outputs["package"] = stages.package(dataset, *(outputs[name] for name in ("split", "select", "train", "calibrate")))
    outputs["evaluate"] = stages.evaluate(outputs["package"].path / "bundle", outputs["split"])
    return SmallRun(stages, outputs)


@pytest.mark.parametrize("prompts", [{}, {"cooking": [" "]}], ids=["measured", "fails"])
def test_a_run_on_texts_measures_it_after_its_decision(tmp_path: Path, prompts: dict[str, list[str]]) -> None:
    """One that fails is a sentence in its place: the record was made without it."""
    small = text_run(tmp_path, zero_shot={"prompts": prompts})
    session = Session(small.stages.workspace, small.config)
    published = report_run(session, record_of(small, run="texts"), candidate_of(small), None, "", run_step)
    text = section_of(Path(published.reports["run"]).read_text(encoding="utf-8"))
    assert published.outcome == "promoted"
    assert ("zero_shot" in published.baselines) == ("zero_shot" in published.stages_seconds) == (not prompts)
    assert ("“cooking”, “sailing”" in text) == (not prompts)
    assert ("not measured: a text of 1 characters with nothing to read in it." in text) == bool(prompts)


def test_records_of_before_are_still_read(run: SmallRun) -> None:
    content = record_of(run).model_dump(mode="json")
    del content["baselines"]
    assert RunRecord.model_validate(content).baselines == {}
