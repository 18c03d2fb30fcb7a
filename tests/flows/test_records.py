from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

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
    published = publish_run(Workspace(tmp_path), record("r", reports={"data_docs": str(docs)}), None)
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
    text = Path(publish_run(Workspace(tmp_path), content, None).reports["run"]).read_text(encoding="utf-8")
    for part in ("accuracy of at least 95 %", "36 of 40 are right", "90.0 % (80.0 to 95.0)", "its output was there", "2.0 s"):
        assert part in text


def test_percent() -> None:
    assert percent(Accuracy(value=0.98742, low=0.9681, high=0.9966, n=318)) == "98.7 % (96.8 to 99.7)"


def test_pages_are_written_in_one_step(tmp_path: Path) -> None:
    write_page("text.html.j2", tmp_path / "a" / "page.html", title="t", text="<b>")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["page.html"]
    assert "&lt;b&gt;" in (tmp_path / "a" / "page.html").read_text()
