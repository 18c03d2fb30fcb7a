"""The reconciler against a real server: each thing that Prefect can lose is really lost here, and made good once."""

from __future__ import annotations

import json
import time
import zlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from flows.claims import take_up
from flows.dead_runs import crashed_run, mark_dead_runs, start_again
from flows.deployments import Deployments, deploy
from flows.events import emit_drift_detected
from flows.reconciling import _is_settled, reconcile_alarms, reconcile_runs, standing_alarm
from flows.records import RunRecord, save_record
from flows.runs import find_runs, read_run, wait_for_flow_run
from flows.session import Session
from flows.trigger_rows import TriggerRow, add_row, rows_path
from monitoring.data_quality import DataQuality, QualityCheck
from monitoring.trigger.decision import Action
from monitoring.verdict import VerdictName
from pipelines.core.errors import RegraftError
from pipelines.workspace import Workspace
from tests.conftest import git
from tests.flows.conftest import SMALL_FLOWS, Stack, make_workspace, project_config, until
from tests.monitoring.verdicts import verdict


def judged(session: Session, name: VerdictName, minutes_ago: float, run: str = "abababab", action: Action = "none", **changes: Any) -> Path:
    """What the monitor leaves behind: a row of what it decided, and the verdict."""
    moment = datetime.now(UTC) - timedelta(minutes=minutes_ago)
    add_row(session, TriggerRow(at=moment, asked_by="monitor", run=f"{run}-1", action=action, reason="r"))
    folder = session.workspace.reports / "monitor" / f"{moment:%Y%m%dT%H%M%SZ}-{run}"
    folder.mkdir(parents=True)
    (folder / "verdict.json").write_text(verdict(name).model_copy(update=changes).to_json())
    return folder


def hours_ago(hours: float) -> datetime:
    return datetime.now(UTC) - timedelta(hours=hours)


@pytest.fixture
def toy(workspace: Workspace) -> Session:
    git(workspace.root, "init", "-q")
    return Session(workspace, project_config("toy"))


def test_the_last_alarm_stands_until_a_window_is_judged_ok(toy: Session) -> None:
    assert standing_alarm(toy, hours_ago(24)) is None
    judged(toy, "drift", 1_500)
    assert standing_alarm(toy, hours_ago(24)) is None, "older than the reconciler looks"
    judged(toy, "drift", 120)
    last = judged(toy, "degraded", 60)
    judged(toy, "insufficient_data", 30)
    alarm = standing_alarm(toy, hours_ago(24))
    assert alarm is not None
    assert (alarm.name, alarm.kind, alarm.report) == (last.name, "drift", str(last / "drift.html"))
    assert alarm.verdict == json.loads((last / "verdict.json").read_bytes())
    judged(toy, "ok", 10)
    assert standing_alarm(toy, hours_ago(24)) is None


def test_broken_inputs_are_no_alarm_for_a_retraining(toy: Session) -> None:
    for alarm, minutes_ago in ((True, 5), (False, 1)):
        check = QualityCheck(name="flat", n_broken=200, n=200, usual_frac=0.05, p_value=0, alarm=alarm)
        judged(toy, "drift", minutes_ago, data_quality=DataQuality(checks=(check,), reason="All is dark."))
        assert (standing_alarm(toy, hours_ago(1)) is None) is alarm


def test_enough_labels_are_an_alarm_without_drift(toy: Session) -> None:
    judged(toy, "ok", 9, "0a1b2c3d", "retrain")
    judged(toy, "ok", 5, "11111111")
    assert standing_alarm(toy, hours_ago(1)) is None, "the last window wanted none"
    judged(toy, "ok", 1, "22222222", "retrain")
    alarm = standing_alarm(toy, hours_ago(1))
    assert alarm is not None
    assert (alarm.kind, alarm.trigger["event"]) == ("labels", "regraft.labels.ready")


def test_projects_of_one_workspace_have_alarms_of_their_own(toy: Session) -> None:
    other = Session(toy.workspace, project_config("other"))
    drifted = judged(toy, "drift", 9, "0a1b2c3d")
    judged(other, "ok", 5, "11111111")
    alarm = standing_alarm(toy, hours_ago(1))
    assert (alarm.name if alarm else None) == drifted.name, "that the other's window is ok says nothing"
    assert standing_alarm(other, hours_ago(1)) is None


def test_a_window_without_a_row_is_the_projects_whose_champion_answered(toy: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    judged(toy, "drift", 9)
    rows_path(toy).unlink()
    assert standing_alarm(toy, hours_ago(1)) is None
    monkeypatch.setattr("flows.reconciling._champion_id", lambda session: "b")
    assert standing_alarm(toy, hours_ago(1)) is not None


@pytest.mark.parametrize(("project", "is_settled"), [("toy", True), ("other", False)])
def test_a_retraining_of_another_project_settles_nothing(toy: Session, project: str, is_settled: bool) -> None:
    judged(toy, "drift", 9)
    alarm = standing_alarm(toy, hours_ago(1))
    assert alarm is not None
    now = datetime.now(UTC)
    record = RunRecord(run="r", project=project, trigger="person", started=now, finished=now, outcome="promoted", reason="by hand")
    save_record(toy.workspace, record)
    assert _is_settled(toy, alarm) is is_settled


@pytest.fixture
def project(stack: Stack, tmp_path: Path, request: pytest.FixtureRequest) -> tuple[Session, Deployments]:
    """A workspace and project of the test's own on the running server, which no worker serves."""
    name = f"p-{zlib.crc32(request.node.name.encode())}"
    workspace = make_workspace(tmp_path / name)
    config = project_config(name, cooldown_minutes=0)
    made = deploy(workspace, config, sources=SMALL_FLOWS)
    time.sleep(1)  # the server's triggers learn of the new automation through a message of their own
    return Session(workspace, config), made


def without_automation(made: Deployments) -> None:
    """As if Prefect had lost what should have followed the event."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        client.pause_automation(made.drift_automation_id)
    time.sleep(1)


@pytest.mark.slow
def test_an_alarm_whose_event_was_lost_starts_one_run(project: tuple[Session, Deployments]) -> None:
    session, made = project
    without_automation(made)
    folder = judged(session, "drift", 5)
    assert reconcile_alarms(session, grace_seconds=600) == [], "the automation may still act"
    (finding,) = reconcile_alarms(session)
    assert (finding.found, finding.subject) == ("alarm", folder.name)
    assert [reconcile_alarms(session) for _ in range(3)] == [[], [], []]
    (run,) = find_runs(made.retrain_id, hours_ago(1))
    assert (str(run.id), run.started_by) == (finding.started, "reconciler")
    evidence = {"verdict": json.loads((folder / "verdict.json").read_bytes()), "report": str(folder / "drift.html")}
    assert run.parameters["trigger"] == {"kind": "drift", "event": "regraft.drift.detected", "event_id": None, "evidence": evidence}


@pytest.mark.slow
def test_automation_and_reconciler_together_start_one_run(project: tuple[Session, Deployments]) -> None:
    session, made = project
    folder = judged(session, "drift", 0)
    event = emit_drift_detected(session.config.project, {"report": str(folder / "drift.html")})
    run = wait_for_flow_run(made.retrain_id, event.occurred, 60)
    assert [reconcile_alarms(session, grace_seconds=0) for _ in range(3)] == [[], [], []]
    assert [item.id for item in find_runs(made.retrain_id, hours_ago(1))] == [run.id]


@pytest.mark.slow
def test_what_is_settled_starts_nothing(project: tuple[Session, Deployments]) -> None:
    session, made = project
    without_automation(made)
    folder = judged(session, "drift", 5)
    now = datetime.now(UTC)
    record = RunRecord(
        run="r", project=session.config.project, trigger="person", started=now, finished=now, outcome="promoted", reason="by hand"
    )
    path = save_record(session.workspace, record)
    assert reconcile_alarms(session) == [], "a person has retrained since"
    path.unlink()
    take_up(session.workspace, folder.name, "a run")
    assert reconcile_alarms(session) == [], "a run has taken it up"
    (finding,) = reconcile_alarms(_same_alarm_elsewhere(session))
    assert finding.started is not None


def _same_alarm_elsewhere(session: Session) -> Session:
    other = replace(session, workspace=make_workspace(session.workspace.root.with_name("elsewhere")))
    judged(other, "drift", 5)
    return other


def begun_run(made: Deployments, state: Any, deployment: UUID | None = None, **parameters: str) -> UUID:
    from prefect.client.orchestration import get_client
    from prefect.states import Pending, Running

    with get_client(sync_client=True) as client:
        run = client.create_flow_run_from_deployment(deployment or made.retrain_id, parameters=parameters)
        for step in (Pending(), Running(), state):
            if step is not None:
                client.set_flow_run_state(run.id, step, force=True)
        return run.id


@pytest.mark.slow
def test_a_crashed_run_is_started_again_under_its_id_and_not_for_ever(project: tuple[Session, Deployments]) -> None:
    from prefect.client.orchestration import get_client
    from prefect.states import Crashed, Running

    session, made = project
    run = begun_run(made, Crashed(message="killed"))
    found = [reconcile_runs(session) for _ in range(2)]
    assert [[finding.started for finding in findings] for findings in found] == [[str(run)], []], "the second sees that it is due"
    assert read_run(run).state_type == "SCHEDULED"
    with get_client(sync_client=True) as client:
        for is_resumed in (True, False):
            client.set_flow_run_state(run, Running(), force=True)
            client.set_flow_run_state(run, Crashed(message="killed again"), force=True)
            (finding,) = reconcile_runs(session)
            assert (finding.started is not None) is is_resumed, finding
        assert "left to a person" in finding.done
        assert start_again(client, client.read_flow_run(run), 3, made.retrain)


@pytest.mark.slow
def test_a_crashed_batch_is_started_again_unless_another_writes_its_file(project: tuple[Session, Deployments]) -> None:
    """Another batch has other inputs, so it does not do the work of one that crashed."""
    from prefect.states import Completed, Crashed

    session, made = project
    batch = made.batch_id
    crashed = begun_run(made, Crashed(message="killed"), batch, inputs="/in/1", out="/out/1.csv")
    begun_run(made, Crashed(message="killed"), batch, inputs="/in/2", out="/out/2.csv")
    begun_run(made, Completed(), batch, inputs="/in/2", out="/out/2.csv")
    begun_run(made, Completed(), batch, inputs="/in/3", out="/out/3.csv")
    assert [finding.started for finding in reconcile_runs(session)] == [str(crashed)]
    assert reconcile_runs(session) == [], "it is due"


@pytest.mark.slow
def test_a_refused_start_names_the_flow(project: tuple[Session, Deployments], monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas import OrchestrationResult
    from prefect.client.schemas.responses import SetStateStatus, StateRejectDetails
    from prefect.states import Crashed

    _, made = project
    run = begun_run(made, Crashed(message="killed"), made.batch_id, inputs="/in/1", out="/out/1.csv")
    refusal = OrchestrationResult[Any](state=None, status=SetStateStatus.REJECT, details=StateRejectDetails(reason="no"))
    with get_client(sync_client=True) as client:
        crashed = client.read_flow_run(run)
        monkeypatch.setattr(client, "set_flow_run_state", lambda *_, **__: refusal)
        with pytest.raises(RegraftError, match=r"did not start the run .* again.*prefect deployment run batch/p-"):
            start_again(client, crashed, 2, made.batch)


@pytest.mark.slow
def test_runs_that_ended_otherwise_are_left_alone(project: tuple[Session, Deployments]) -> None:
    from prefect.client.orchestration import get_client
    from prefect.states import Cancelled, Completed, Crashed, Failed

    session, made = project
    for state in (Failed(message="bad data"), Cancelled(message="by a person"), Completed()):
        begun_run(made, state)
        assert reconcile_runs(session) == []
    with get_client(sync_client=True) as client:
        begun_run(made, Crashed())
        assert crashed_run(client, made.retrain_id, datetime.now(UTC) + timedelta(minutes=1)) is None, "too long ago"
        assert crashed_run(client, made.retrain_id, hours_ago(1)) is not None
        begun_run(made, Completed())
        assert crashed_run(client, made.retrain_id, hours_ago(1)) is None, "a later run has done the work"


@pytest.mark.slow
def test_a_silent_run_is_dead_and_one_with_a_heartbeat_is_not(project: tuple[Session, Deployments]) -> None:
    from prefect.client.orchestration import get_client
    from prefect.events import emit_event
    from prefect.events.filters import EventFilter, EventNameFilter, EventResourceFilter

    _, made = project
    silent, alive = begun_run(made, None), begun_run(made, None)
    resource = {"prefect.resource.id": f"prefect.flow-run.{alive}"}
    time.sleep(2)
    emit_event(event="prefect.flow-run.heartbeat", resource=resource)
    with get_client(sync_client=True) as client:
        wanted = EventFilter(
            event=EventNameFilter(name=["prefect.flow-run.heartbeat"]), resource=EventResourceFilter(id=list(resource.values()))
        )
        assert until(lambda: bool(client.read_events(wanted, limit=1).events), 60)
        assert mark_dead_runs(client, [made.retrain_id], dead_after_seconds=600) == [], "it has not been silent for so long"
        begun = client.read_flow_run(silent).state
        assert begun is not None
        age_seconds = (datetime.now(UTC) - begun.timestamp).total_seconds()
        (dead,) = mark_dead_runs(client, [made.retrain_id], dead_after_seconds=age_seconds - 0.5)
        assert dead.id == silent
    assert (read_run(silent).state_type, read_run(alive).state_type) == ("CRASHED", "RUNNING")
    assert "its process and its worker are gone" in read_run(silent).message
