from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from flows.claims import alarm_of, take_up, taken_up_by
from flows.session import Session
from pipelines.workspace import Workspace
from tests.flows.conftest import project_config


def test_an_alarm_is_taken_up_once_and_kept_over_a_restart(workspace: Workspace) -> None:
    assert taken_up_by(workspace, "a") is None
    assert take_up(workspace, "a", "run 1") == "run 1"
    assert take_up(workspace, "a", "run 2") == "run 1"
    assert take_up(workspace, "a", "run 1") == "run 1", "a run that goes on after a crash keeps what it has"
    assert take_up(workspace, "b", "run 2") == "run 2"
    assert taken_up_by(Workspace(workspace.root), "a") == "run 1"


@pytest.mark.parametrize(
    ("trigger", "name"),
    [
        ({"kind": "person"}, None),
        ({"kind": "schedule", "event_id": "1"}, None),
        ({"kind": "drift"}, None),
        ({"kind": "drift", "event_id": "1", "evidence": None}, "1"),
        (
            {"kind": "drift", "event_id": "1", "evidence": {"report": "/w/reports/monitor/20261121T120000Z-ab/drift.html"}},
            "20261121T120000Z-ab",
        ),
    ],
)
def test_the_automations_run_and_the_reconcilers_have_the_same_alarm(trigger: dict[str, object], name: str | None) -> None:
    assert alarm_of(trigger) == name


def test_a_name_from_outside_stays_in_its_folder(workspace: Workspace) -> None:
    take_up(workspace, "../../../../escaped", "run")
    (file,) = (path for path in workspace.root.rglob("*.txt"))
    assert file.parent == workspace.state / "alarms"
    assert not list(Path(workspace.root).parent.glob("escaped*"))


def test_a_run_whose_alarm_another_has_ends_before_it_learns(workspace: Workspace) -> None:
    from flows.retrain import _learnt_once
    from flows.retraining import Retraining

    trigger = {"kind": "drift", "event_id": "e", "evidence": {"report": "/w/monitor/one/drift.html"}}
    take_up(workspace, "one", "the first")
    session = Session(workspace, project_config("toy"))
    result = _learnt_once(Retraining(session, "the second", trigger, datetime.now(UTC)), None)
    assert result.record.outcome == "skipped"
    assert result.record.reason == "The alarm one was taken up by the run the first: it arrived twice."
    assert result.candidate is None
