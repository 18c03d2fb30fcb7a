"""The page of a run, from the outputs of real stages."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from flows.records import RunRecord
from flows.report.content import ReportFolders
from flows.run_report import publish_run, report_run
from flows.session import Session
from pipelines.answers import read_answers, write_answers
from pipelines.core.errors import DataError
from pipelines.dataset import read_samples
from pipelines.stages import Stages
from pipelines.workspace import Workspace
from tests.flows.report.conftest import START, candidate_of, check_self_contained, record_of, screenshot, with_wrong
from tests.pipelines.small_run import SmallRun, small_run


def run_step(name: str, function: Callable[..., Any], *arguments: object) -> Any:
    return function(*arguments)


def reported(run: SmallRun, record: RunRecord, champion: Path | None = None, card: str = "") -> tuple[RunRecord, Path, str]:
    session = Session(run.stages.workspace, run.config)
    published = report_run(session, record, candidate_of(run), champion, card, run_step)
    page = Path(published.reports["run"])
    return published, page, page.read_text(encoding="utf-8")


SECTIONS = (
    "Gates",
    "Accuracy on the test split",
    "What is taken for what",
    "Are its confidences kept?",
    "The most confident mistakes",
    "What more labels would bring",
    "Training",
    "Cost",
    "Look at",
)


def test_every_section_is_there_and_needs_no_other_file(run: SmallRun, champion: Path, tmp_path: Path) -> None:
    published, page, text = reported(run, record_of(run, run="all"), champion)
    headings = re.findall(r"<h2>(.*?)</h2>", text)
    for section in SECTIONS:
        assert any(heading.startswith(section) for heading in headings), section
    check_self_contained(page)
    for part in ("v0.0.2, in place of v0.0.1", "57 of 60 are right", "Validation log loss", "Training loss", "5 seeded draws", "by domain"):
        assert part in text
    assert {"learning_curve", "mistakes"} <= published.stages_seconds.keys()
    assert published.peak_memory_mib is None or published.peak_memory_mib > 50


def test_the_numbers_are_those_of_the_evaluation(run: SmallRun, champion: Path) -> None:
    _, _, text = reported(run, record_of(run, run="numbers"), champion)
    answers, theirs = read_answers(run.outputs["evaluate"].path / "predictions.csv"), read_answers(champion / "predictions.csv")
    assert f"gets {int(answers.correct.sum())} of {answers.n} test samples right" in text
    row = next(part for part in text.split("<tr>") if "<td>all</td>" in part)
    assert f"{100 * answers.correct.mean():.1f} %" in row
    assert f"{100 * theirs.correct.mean():.1f} %" in row
    matrix = text.split('class="confusion"')[1].split("</table>")[0]
    cells = [0 if cell == "·" else int(cell) for cell in re.findall(r">(\d+|·)</td>", matrix)]
    assert np.array(cells).reshape(4, 4).tolist() == [
        [int(((answers.labels == true) & (answers.predicted == said)).sum()) for said in "0123"] for true in "0123"
    ]
    bars = re.findall(r'class="count"[^>]*/><text[^>]*>(\d+)</text>', text)
    assert sum(map(int, bars)) == answers.n


@pytest.mark.parametrize(
    "planted",
    [
        "<script>1</script>",
        '<img alt="x" src="https://example.invalid/x.png">',
        '<img src="data:image/png;base64,AA==">',
        '<a href="//example.invalid/">x</a>',
        '<p onclick="x">',
        "<style>p { background: url(x.png) }</style>",
    ],
)
def test_what_the_page_must_not_have_would_be_found(tmp_path: Path, planted: str) -> None:
    (tmp_path / "page.html").write_text(f"<p>{planted}</p>")
    with pytest.raises(AssertionError):
        check_self_contained(tmp_path / "page.html")


@pytest.mark.slow
def test_an_error_in_the_console_would_be_found(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("<script>throw new Error('planted')</script>")
    with pytest.raises(AssertionError, match="planted"):
        screenshot(page, tmp_path)


@pytest.mark.slow
def test_it_is_drawn_without_an_error(run: SmallRun, champion: Path, tmp_path: Path) -> None:
    _, page, _ = reported(run, record_of(run, run="drawn"), champion)
    with Image.open(io.BytesIO(screenshot(page, tmp_path))) as image:
        pixels = np.asarray(image.convert("L"))
    ink = (pixels < 200).mean(axis=1)
    assert 0.005 < (pixels < 200).mean() < 0.5
    # Ink in most of the page's height: no section is missing or laid over another.
    filled = np.flatnonzero(ink > 0)
    assert filled.max() - filled.min() > 2_000


def test_a_refused_first_run_says_so_and_has_no_champion_beside_it(run: SmallRun) -> None:
    decisions = [
        {"gate": "min_metric", "condition": "accuracy of at least 99 %", "outcome": "refuse", "n": 60, "reason": "too few are right"},
        {"gate": "calibration", "condition": "error of at most 1 %", "outcome": "insufficient_data", "n": 60, "reason": "60 are too few"},
    ]
    changes = {"outcome": "refused", "version": None, "champion_before": None, "decisions": decisions, "reason": "Not promoted."}
    published, page, text = reported(run, record_of(run, run="refused", **changes))
    for part in (
        "The new model was not promoted. Nothing is in production yet.",
        "1 refused: accuracy of at least 99 %",
        "1 of 2 conditions could not be decided",
        "no champion",
        "insufficient data",
    ):
        assert part in text
    assert "model_card" not in published.reports
    assert "champion hollow" not in text
    check_self_contained(page)


@pytest.mark.parametrize("n_wrong", [0, 1])
def test_none_and_one_wrong(run: SmallRun, tmp_path: Path, n_wrong: int) -> None:
    evaluate = tmp_path / "evaluate"
    evaluate.mkdir()
    original = run.outputs["evaluate"]
    answers = with_wrong(read_answers(original.path / "predictions.csv"), range(n_wrong))
    write_answers(answers, evaluate / "predictions.csv")
    (evaluate / "evaluation.json").write_bytes((original.path / "evaluation.json").read_bytes())
    planted = SmallRun(run.stages, run.outputs | {"evaluate": replace(original, path=evaluate, fingerprint=f"{n_wrong}" * 64)})
    _, page, text = reported(planted, record_of(run, run=f"wrong-{n_wrong}"))
    assert text.count("<img") == 2 * n_wrong
    assert (f"None: all {answers.n} test samples are right." in text) == (n_wrong == 0)
    assert ("Nothing was taken for something else." in text) == (n_wrong == 0)
    check_self_contained(page)


HOSTILE = '<script>alert("1")</script>'


def test_hostile_names_stay_text(tiny_weights: Path, digits_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "digits").mkdir()
    (tmp_path / "digits" / "data").symlink_to(digits_folder / "data")
    named = {"0": HOSTILE, "1": "](http://example.invalid) | x", "2": "{{ 7 * 7 }}", "3": "' onload=alert(1) '"}
    samples = [
        replace(sample, label=named[sample.label], domain='"><img src=x onerror=alert(2)>')
        for sample in read_samples(digits_folder / "samples.csv")
    ]
    run = small_run(tmp_path / "run", tiny_weights, tmp_path / "digits", samples, labels=tuple(named.values()))
    from tests.flows.report.test_card import card_of

    published, page, text = reported(run, record_of(run, run="hostile", reason=HOSTILE), None, card_of(run))
    check_self_contained(page)
    check_self_contained(Path(published.reports["model_card"]))
    for shown in (text, Path(published.reports["model_card"]).read_text(encoding="utf-8")):
        assert "<script" not in shown
        assert "onerror=alert(2)&gt;" in shown
        assert "{{ 7 * 7 }}" in shown


def test_with_many_labels_a_sample_labels_stand_in_place_of_the_matrix(tiny_weights: Path, digits_folder: Path, tmp_path: Path) -> None:
    sets = {"0": "", "1": "odd", "2": "high", "3": "high|odd"}
    samples = [replace(sample, label=sets[sample.label]) for sample in read_samples(digits_folder / "samples.csv")]
    run = small_run(tmp_path / "run", tiny_weights, digits_folder, samples, labels=("high", "odd"), labels_per_sample="many")
    _, page, text = reported(run, record_of(run, run="many"))
    for part in ("no matrix of confusions", "<td>odd</td>", "whole set of labels", "What more labels would bring"):
        assert part in text
    check_self_contained(page)


NOT_FINITE = DataError(got="a <feature> that is not finite.", allowed="finite ones.", next_step="look.")


@pytest.mark.parametrize(
    ("error", "shown", "logged"),
    [
        (NOT_FINITE, "a &lt;feature&gt; that is not finite.", str(NOT_FINITE)),
        (ValueError("of <a text>\nand more"), "ValueError: of &lt;a text&gt;\nand more", "a ValueError; the report has its words."),
    ],
    ids=["ours", "of a library"],
)
def test_a_stage_that_fails_is_a_sentence_and_no_loss(
    run: SmallRun, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception, shown: str, logged: str
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(Stages, "learning_curve", fail)
    published, _, text = reported(run, record_of(run, run="fails"))
    assert f"Not measured: {shown}" in text
    assert "learning_curve" not in published.stages_seconds
    assert "The most confident mistakes" in text
    said = [row.getMessage() for row in caplog.records if row.name == "flows.report.explain"]
    assert said == [f"The report lacks its learning curve: {logged}"]


def test_a_champion_that_was_judged_on_other_samples_is_not_set_beside(run: SmallRun, tmp_path: Path) -> None:
    answers = read_answers(run.outputs["evaluate"].path / "predictions.csv")
    other = replace(answers, ids=np.array([f"other-{place}" for place in range(answers.n)]), probabilities=None, label_names=())
    write_answers(other, tmp_path / "predictions.csv")
    _, _, text = reported(run, record_of(run, run="other"), tmp_path)
    row = next(part for part in text.split("<tr>") if "<td>all</td>" in part)
    assert "–" in row


def test_a_run_that_made_no_candidate_has_a_short_page(tmp_path: Path) -> None:
    from flows.learning_report import LearningReport

    record = RunRecord(
        run="r", project="p", trigger="drift", started=START, finished=START, outcome="skipped", reason="Nothing new to learn from."
    )
    text = Path(publish_run(Workspace(tmp_path), record, LearningReport(), folders=ReportFolders()).reports["run"]).read_text()
    assert "No model was trained." in text
    assert "Nothing new to learn from." in text
    assert "confidences" not in text


def test_a_person_who_is_asked_sees_what_waits(run: SmallRun) -> None:
    _, _, text = reported(run, record_of(run, run="waits", outcome="waiting", version=None))
    assert "A person has to say whether the new model ships. Until then v0.0.1 stays in production." in text


def test_whoever_forced_it_is_named(run: SmallRun) -> None:
    forced = {"by": "A. Person <a@example.invalid>", "reason": "the line stands still"}
    _, _, text = reported(run, record_of(run, run="forced", forced=forced))
    assert "A. Person &lt;a@example.invalid&gt; forced it: the line stands still" in text
    assert "conditions hold" not in text.split("forced it")[0]


def test_mistakes_on_texts_are_shown_word_by_word_and_escaped(run: SmallRun, tmp_path: Path) -> None:
    from flows.learning_report import LearningReport

    words = [["<script>alert(1)</script>", 1.0], ["is", 0.0], ["\u202egreat", 0.5]]
    row = {"path": "labels.csv#1", "domain": "books", "label": "good", "predicted": "bad", "confidence": 0.9, "explained": "bad"}
    shown = [{**row, "words": words, "is_whole": False}, {**row, "words": [["fine", 1.0]], "is_whole": True}]
    (tmp_path / "mistakes.json").write_text(json.dumps({"n": 60, "n_wrong": 2, "saliency": "erasure", "shown": shown}))
    folders = ReportFolders(evaluate=run.outputs["evaluate"].path, mistakes=tmp_path)
    published = publish_run(run.stages.workspace, record_of(run, run="texts"), LearningReport(), folders=folders)
    text = Path(published.reports["run"]).read_text(encoding="utf-8")
    assert '0.70)">&lt;script&gt;alert(1)&lt;/script&gt;</mark> is <mark' in text
    assert '0.35)">\u202egreat</mark> …</bdi>' in text
    assert "fine</mark> </bdi>" in text
    assert "when the word alone is left out" in text
    assert "<script>" not in text
    assert "data:image/png" not in text.split("The most confident mistakes")[1].split("</section>")[0]


def test_the_pictures_of_a_page_are_those_of_the_stage(run: SmallRun) -> None:
    _, _, text = reported(run, record_of(run, run="pictures"))
    folder = run.stages.mistakes(run.bundle, run.outputs["split"], run.outputs["evaluate"]).path
    shown = json.loads((folder / "mistakes.json").read_bytes())["shown"]
    assert text.count("data:image/png;base64,") == 2 * len(shown)
    for row in shown:
        assert row["path"] in text
