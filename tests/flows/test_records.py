from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from flows.learning_report import LearningReport, read_learning
from flows.pages import percent, write_page
from flows.records import Accuracy, RunRecord, read_records, save_record
from flows.run_report import publish_run
from pipelines.workspace import Workspace

START = datetime(2026, 1, 1, tzinfo=UTC)


def record(run: str, minutes: int = 0, **changes: object) -> RunRecord:
    values: dict[str, object] = {
        "run": run,
        "project": "p",
        "trigger": "person",
        "started": START + timedelta(minutes=minutes),
        "finished": START + timedelta(hours=1),
        "outcome": "refused",
        "reason": "Not promoted: <script>alert(1)</script>",
    }
    return RunRecord.model_validate(values | changes)


def test_records_come_back_in_the_order_of_their_start(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    late, early = record("a", 5), record("b", 1)
    for item in (late, early):
        save_record(workspace, item)
    assert read_records(workspace) == [early, late]
    assert not list((tmp_path / ".regraft" / "runs").glob("*.part"))


def test_the_page_escapes_what_it_shows_and_links_relatively(tmp_path: Path) -> None:
    docs = tmp_path / ".regraft" / "store" / "docs.html"
    published = publish_run(Workspace(tmp_path), record("r", reports={"data_docs": str(docs)}), LearningReport())
    page = Path(published.reports["run"])
    text = page.read_text(encoding="utf-8")
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    assert 'href="../../../store/docs.html"' in text
    assert str(tmp_path) not in text


def test_gates_and_accuracies_are_on_the_page(tmp_path: Path) -> None:
    accuracy = Accuracy(value=0.9, low=0.8, high=0.95, n=40)
    decision = {
        "gate": "min_metric",
        "condition": "accuracy of at least 95 %",
        "outcome": "refuse",
        "n": 40,
        "reason": "36 of 40 are right",
    }
    content = record(
        "r", decisions=[decision], accuracy=accuracy, accuracy_by_domain={"d": accuracy}, stages_seconds={"train": 2.0, "split": 0.0}
    )
    text = Path(publish_run(Workspace(tmp_path), content, LearningReport()).reports["run"]).read_text(encoding="utf-8")
    for part in ("accuracy of at least 95 %", "36 of 40 are right", "90.0 % (80.0 to 95.0)", "its output was there", "2.0 s"):
        assert part in text


def test_why_a_tuning_was_not_kept_is_on_the_page(tmp_path: Path) -> None:
    rows = [{"number": 0, "train_loss": None, "validation_log_loss": 0.5, "validation_accuracy": 0.9}]
    learning = LearningReport(method="setfit", kept="probe", reason="kept probe: tuning made it worse", curve=rows, best_epoch=0)
    text = Path(publish_run(Workspace(tmp_path), record("r"), learning).reports["run"]).read_text(encoding="utf-8")
    assert "Kept probe: tuning made it worse." in text


def test_what_was_tried_is_on_the_page_with_its_cost_and_reason(tmp_path: Path) -> None:
    trained, selected = tmp_path / "train", tmp_path / "select"
    training = {
        "method": "auto",
        "kept": "probe",
        "reason": "kept probe: <lp_ft> is better by 0.004 ± 0.006 log loss",
        "n_validation": 120,
        "tried": [
            {
                "way": "probe",
                "outcome": "kept",
                "reason": "kept probe",
                "log_loss": 0.31,
                "accuracy": 0.925,
                "gain_of_best": 0.004,
                "standard_error": None,
                "cut_by_budget": False,
            },
            {"way": "lp_ft", "outcome": "skipped", "reason": "the budget left no time for one epoch", "cut_by_budget": True},
        ],
    }
    row = {"log_me": 0.5, "h_score": 2.25, "forward_flops": 2_500_000, "n_parameters": 1_500_000}
    accuracy = {"value": 0.875, "low": 0.8, "high": 0.95, "n": 40}
    candidates = [
        row | {"backbone": "one", "outcome": "kept", "reason": "kept one", "log_loss": 0.4, "accuracy": accuracy},
        row | {"backbone": "two", "outcome": "ranked", "reason": "rank 2 by transferability"},
    ]
    for folder, files in (
        (trained, {"training": training, "costs": {"probe": 1.5, "features": 7.25}}),
        (selected, {"ranking": {"candidates": candidates, "reason": "kept one"}, "costs": {"one: features": 2.0, "one: probe": 1.0}}),
    ):
        folder.mkdir()
        for name, content in files.items():
            (folder / f"{name}.json").write_text(json.dumps(content))
    text = Path(publish_run(Workspace(tmp_path), record("r"), read_learning(trained, selected)).reports["run"]).read_text(encoding="utf-8")
    for part in ("&lt;lp_ft&gt; is better", "120 validation samples", "0.3100", "92.5 %", "1.5 s", "7.2 s", "(cut by the budget)"):
        assert part in text
    for part in ("0.5000", "2.250", "87.5 %", "0.0025", "3.0 s", "rank 2 by transferability"):
        assert part in text


def test_a_method_that_tries_nothing_has_its_curve_alone(tmp_path: Path) -> None:
    epoch = {"number": 0, "train_loss": None, "validation_log_loss": 0.5, "validation_accuracy": 0.75}
    (tmp_path / "training.json").write_text(json.dumps({"method": "lp_ft", "curve": [epoch], "best_epoch": 0}))
    text = Path(publish_run(Workspace(tmp_path), record("r"), read_learning(tmp_path)).reports["run"]).read_text(encoding="utf-8")
    assert "What was tried" not in text
    assert "0.5000" in text
    assert "75.0 %" in text


def test_percent() -> None:
    assert percent(Accuracy(value=0.98742, low=0.9681, high=0.9966, n=318)) == "98.7 % (96.8 to 99.7)"


def test_pages_are_written_in_one_step(tmp_path: Path) -> None:
    write_page("markdown.html.j2", tmp_path / "a" / "page.html", title="t", body="<b>", header="")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["page.html"]
    assert "&lt;b&gt;" in (tmp_path / "a" / "page.html").read_text()


def test_what_looks_wrong_about_the_weights_is_on_the_page(tmp_path: Path) -> None:
    finding = {"check": "padding", "got": "mirrored images differ <more>.", "next_step": "set pad_type: same."}
    (tmp_path / "sanity.json").write_text(json.dumps({"findings": [finding]}))
    text = Path(publish_run(Workspace(tmp_path), record("r"), read_learning(checked=tmp_path)).reports["run"]).read_text(encoding="utf-8")
    assert "mirrored images differ &lt;more&gt;. Next: set pad_type: same." in text
