"""The table of decisions: only ever added to, and readable after a process was killed in the middle of a line."""

from __future__ import annotations

import multiprocessing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flows.session import Session
from flows.trigger_rows import TriggerRow, add_row, attempts, latest_rows, ongoing_drift_since, rows_path
from pipelines.workspace import Workspace
from tests.flows.conftest import project_config

NOW = datetime(2026, 5, 1, tzinfo=UTC)


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(Workspace(tmp_path), project_config("toy"))


def row(number: int, **changes: object) -> TriggerRow:
    at = NOW + timedelta(minutes=number)
    content = {"at": at, "asked_by": "drift", "run": f"r{number}", "action": "none", "reason": f"Reason {number}."}
    return TriggerRow.model_validate(content | changes)


def test_rows_come_back_as_they_were_the_last_ten(session: Session) -> None:
    assert latest_rows(session).rows == ()
    written = [row(number, n_new_labels=number, verdict="drift") for number in range(15)]
    for item in written:
        add_row(session, item)
    assert latest_rows(session).rows == tuple(written[-10:])
    assert latest_rows(session, 3).rows == tuple(written[-3:])


def test_an_ongoing_drift_is_of_one_bundle_and_ends_after_a_day_without_one(session: Session) -> None:
    def look(number: int, verdict: str, **more: object) -> TriggerRow:
        return row(number, asked_by="monitor", verdict=verdict, bundle="b1", **more)

    assert ongoing_drift_since(session, "b1", NOW) is None
    began = NOW - timedelta(hours=5)
    for item in (look(0, "drift", drift_since=began), look(1, "ok"), row(2, asked_by="drift", verdict="drift", bundle="b1")):
        add_row(session, item)
    assert ongoing_drift_since(session, "b1", NOW + timedelta(hours=23)) == began
    assert ongoing_drift_since(session, "b1", NOW + timedelta(hours=25)) is None
    assert ongoing_drift_since(session, "b2", NOW) is None


@pytest.mark.parametrize("torn", [b'{"at":"2026-05-01T00:0', b"\xff\xfe", b"{}", b'{"at":"2026-05-01T00:00:00Z","asked_by":"drift"}'])
@pytest.mark.parametrize("ended", [b"", b"\n"])
def test_a_torn_line_is_passed_over_and_said(session: Session, torn: bytes, ended: bytes) -> None:
    add_row(session, row(1))
    before = rows_path(session).read_bytes()
    rows_path(session).write_bytes(before + torn + ended)
    add_row(session, row(2))
    assert rows_path(session).read_bytes().startswith(before + torn), "nothing that was written is ever changed"
    found = latest_rows(session)
    assert (found.rows, found.n_damaged) == ((row(1), row(2)), 1)


def test_any_part_of_a_last_row_leaves_the_others_whole(session: Session) -> None:
    """As a process that is killed at some byte would leave it."""
    add_row(session, row(1))
    whole = rows_path(session).read_bytes()
    for length in range(1, len(whole), 7):
        rows_path(session).write_bytes(whole + whole[:length])
        add_row(session, row(3))
        assert latest_rows(session).rows[-1] == row(3)
        assert latest_rows(session).rows[0] == row(1)


def test_attempts_are_what_runs_started_and_what_was_refused(session: Session) -> None:
    kinds = [("monitor", "retrain"), ("drift", "retrain"), ("drift", "none"), ("schedule", "retrain")]
    kinds += [("person", "refused"), ("person", "stop"), ("drift", "adapt")]
    for number, (asked_by, action) in enumerate(kinds):
        add_row(session, row(number, asked_by=asked_by, action=action))
    assert [item.run for item in attempts(session)] == ["r1", "r3", "r4", "r6"]


def test_a_reason_that_looks_like_a_row_is_none(session: Session) -> None:
    add_row(session, row(1, reason='"action":"retrain"'))
    assert attempts(session) == []
    add_row(session, row(2, reason="two\nlines"))
    assert latest_rows(session).rows[-1].reason == "two\nlines"


def test_a_long_table_is_read_from_its_end(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    import flows.trigger_rows

    for number in range(30):
        add_row(session, row(number))
    monkeypatch.setattr(flows.trigger_rows, "_TAIL_BYTES", 1_000)
    found = latest_rows(session)
    assert 0 < len(found.rows) < 10
    assert found.rows[-1] == row(29)
    assert found.n_damaged == 0


def _write(root: Path, first: int) -> None:
    session = Session(Workspace(root), project_config("toy"))
    for number in range(first, first + 25):
        add_row(session, row(number))


def test_processes_that_write_at_once_lose_nothing(session: Session) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write, args=(session.workspace.root, 100 * index)) for index in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    found = latest_rows(session, 1_000)
    assert (len(found.rows), found.n_damaged) == (75, 0)
