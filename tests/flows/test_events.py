from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import psutil
import pytest

from flows.deployments import deploy
from flows.events import (
    DRIFT_DETECTED,
    emit_data_quality_alarm,
    emit_drift_detected,
    emit_model_promoted,
    emit_model_refused,
    latest_drift_event,
    model_resource,
)
from flows.runs import find_runs, read_run, reconcile_drift, wait_for_flow_run, wait_until_finished
from pipelines.core.errors import RegraftError
from tests.flows.conftest import CHECKOUT, SMALL_FLOWS, Stack, project_config, until

EVIDENCE: dict[str, Any] = {"psi": 0.31, "n": 500, "signals": ["hue", "blur <&'\">"], "window": {"first": "a", "alarm": True, "note": None}}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), np.float32(1), Path("/x"), {1: 2}, object()])
def test_a_payload_that_is_no_json_is_refused_before_it_is_sent(value: Any) -> None:
    with pytest.raises(RegraftError, match=r"payload of regraft\.drift\.detected that is no JSON: .*finite numbers"):
        emit_drift_detected("toy", {"value": value})


def test_a_payload_too_large_for_an_event_is_refused_before_it_is_sent() -> None:
    with pytest.raises(RegraftError, match=r"payload of regraft\.model\.refused with 1,000,00\d bytes.*put the details into a report"):
        emit_model_refused("toy", {"x": "a" * 999_995})


@pytest.fixture
def quiet_stack(stack: Stack) -> Stack:
    """The stack, with the cool-down of earlier tests over and what their flows wrote gone."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:  # a new automation has seen no event yet
        for automation in client.read_automations_by_name("regraft-toy: drift starts a retraining"):
            client.delete_automation(automation.id)
    deploy(stack.workspace, stack.config, sources=SMALL_FLOWS)
    for file in (stack.workspace.root / "told").glob("*.json"):
        file.unlink()
    time.sleep(1)  # the server's triggers learn of the new automation through a message of their own
    return stack


def told(stack: Stack) -> list[dict[str, Any]]:
    return [json.loads(file.read_text()) for file in (stack.workspace.root / "told").glob("*.json")]


@pytest.mark.slow
def test_a_drift_event_starts_a_run_that_gets_the_evidence(quiet_stack: Stack) -> None:
    event = emit_drift_detected("toy", EVIDENCE)
    started = wait_for_flow_run("retrain/toy", event.occurred, deadline_seconds=60)
    run = wait_until_finished(started.id, deadline_seconds=120)
    assert (run.state_type, run.started_by, run.finished) == ("COMPLETED", "automation", True)
    trigger = {"kind": "drift", "event": DRIFT_DETECTED, "event_id": str(event.id), "evidence": EVIDENCE}
    assert run.parameters == {"workspace": str(quiet_stack.workspace.root), "trigger": trigger}
    (seen,) = told(quiet_stack)
    assert seen["trigger"] == trigger
    assert seen["folder"] == str(CHECKOUT)
    assert seen["environment"] == {
        "PREFECT_HOME": str(quiet_stack.workspace.prefect_home),
        "PREFECT_API_URL": quiet_stack.server.url,
        "DO_NOT_TRACK": "1",
        "BENTOML_HOME": str(quiet_stack.workspace.bentoml_home),
    }
    assert latest_drift_event("toy", event.occurred - timedelta(minutes=1)) == event
    assert latest_drift_event("another", event.occurred - timedelta(minutes=1)) is None


@pytest.mark.slow
def test_a_storm_of_events_starts_one_run(quiet_stack: Stack) -> None:
    from prefect.events import emit_event

    first = emit_drift_detected("toy", {"i": 0})
    for i in range(1, 10):
        emit_event(event=DRIFT_DETECTED, resource={"prefect.resource.id": model_resource("toy")}, payload={"i": i})
    last = emit_drift_detected("toy", {"i": 10})
    run = wait_for_flow_run(quiet_stack.deployments.retrain_id, first.occurred, deadline_seconds=60)
    cooldown = quiet_stack.config.trigger.cooldown_minutes
    answer = reconcile_drift("retrain/toy", last, cooldown_minutes=cooldown, wait_seconds=1, tell=pytest.fail)
    assert (answer.how, answer.run.id) == ("cooldown", run.id)
    time.sleep(6)
    assert [item.id for item in find_runs(quiet_stack.deployments.retrain_id, first.occurred)] == [run.id]
    wait_until_finished(run.id, deadline_seconds=60)


@pytest.mark.slow
def test_after_the_cool_down_drift_starts_a_run_again(quiet_stack: Stack) -> None:
    cooldown = timedelta(minutes=quiet_stack.config.trigger.cooldown_minutes)
    first = emit_drift_detected("toy", {})
    wait_until_finished(wait_for_flow_run("retrain/toy", first.occurred, 60).id, deadline_seconds=60)
    time.sleep(max(0.0, (first.occurred + cooldown + timedelta(seconds=2) - datetime.now(UTC)).total_seconds()))
    second = emit_drift_detected("toy", {})
    run = wait_for_flow_run("retrain/toy", second.occurred, 60)
    assert run.parameters["trigger"]["event_id"] == str(second.id)
    wait_until_finished(run.id, deadline_seconds=60)


@pytest.mark.slow
def test_other_projects_and_other_events_start_nothing(quiet_stack: Stack) -> None:
    since = datetime.now(UTC)
    emit_drift_detected("toy-2", {})
    emit_model_promoted("toy", {"version": "v0.0.1"})
    emit_model_refused("toy", {"gates": ["goldens"]})
    emit_data_quality_alarm("toy", {"reason": "all is dark"})
    time.sleep(5)
    assert find_runs("retrain/toy", since) == []


@pytest.mark.slow
def test_a_lost_event_is_made_up_for_once_and_said_aloud(quiet_stack: Stack) -> None:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:  # as if Prefect had lost it between the event and the run
        client.pause_automation(client.read_automations_by_name("regraft-toy: drift starts a retraining")[0].id)
    time.sleep(1)
    event = emit_drift_detected("toy", EVIDENCE)
    said: list[str] = []
    answers = [reconcile_drift("retrain/toy", event, cooldown_minutes=0, wait_seconds=2, tell=said.append) for _ in range(2)]
    assert [answer.how for answer in answers] == ["reconciled", "reconciled"]
    assert answers[0].run.id == answers[1].run.id
    assert answers[0].run.started_by == "reconciler"
    trigger = {"kind": "drift", "event": DRIFT_DETECTED, "event_id": str(event.id), "evidence": EVIDENCE}
    assert answers[0].run.parameters["trigger"] == trigger
    (sentence,) = said
    assert "Starting the retraining directly" in sentence
    assert str(event.id) in sentence
    assert wait_until_finished(answers[0].run.id, 60).state_type == "COMPLETED"


@pytest.mark.slow
def test_the_automation_is_not_doubled_by_the_reconciler(quiet_stack: Stack) -> None:
    event = emit_drift_detected("toy", {})
    answer = reconcile_drift("retrain/toy", event, cooldown_minutes=0, wait_seconds=60, tell=pytest.fail)
    assert (answer.how, answer.run.started_by) == ("automation", "automation")
    wait_until_finished(answer.run.id, 60)


@pytest.mark.slow
def test_a_second_retraining_is_cancelled_while_one_runs(quiet_stack: Stack) -> None:
    from prefect.deployments import run_deployment

    event = emit_drift_detected("toy", {"sleep_seconds": 12})
    first = wait_for_flow_run("retrain/toy", event.occurred, 60)
    assert until(lambda: read_run(first.id).state_type == "RUNNING", 60)
    by_hand = run_deployment("retrain/toy", timeout=0, as_subflow=False)
    second = wait_until_finished(by_hand.id, 60)
    assert (second.state_type, second.started_by) == ("CANCELLED", "person")
    assert "concurrency limit" in second.message
    assert wait_until_finished(first.id, 60).state_type == "COMPLETED"


@pytest.mark.slow
def test_waiting_ends_with_a_sentence(quiet_stack: Stack) -> None:
    with pytest.raises(RegraftError, match=r"no run of the deployment retrain/toy within 1 s.*run `regraft deploy`"):
        wait_for_flow_run("retrain/toy", datetime.now(UTC), deadline_seconds=1)
    with pytest.raises(RegraftError, match=r"no deployment retrain/unknown on the Prefect server.*run `regraft deploy`"):
        wait_for_flow_run("retrain/unknown", datetime.now(UTC), deadline_seconds=1)
    event = emit_drift_detected("toy", {"sleep_seconds": 5})
    run = wait_for_flow_run("retrain/toy", event.occurred, 60)
    with pytest.raises(RegraftError, match=rf"the run {run.name}, which is \w+ after 1 s.*no worker"):
        wait_until_finished(run.id, deadline_seconds=1)
    wait_until_finished(run.id, 60)


@pytest.mark.slow
def test_an_event_is_delivered_although_the_process_ends_at_once(quiet_stack: Stack) -> None:
    emit = "print(emit_model_promoted('toy', {'a': 1}).id, flush=True)"
    code = f"import os; from flows.events import emit_model_promoted; {emit}; os._exit(0)"
    answer = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, env=os.environ, capture_output=True, text=True, check=True)
    from prefect.client.orchestration import get_client
    from prefect.events.filters import EventFilter, EventIDFilter

    with get_client(sync_client=True) as client:
        (stored,) = client.read_events(EventFilter(id=EventIDFilter(id=[UUID(answer.stdout.strip())])), limit=1).events
    assert (stored.event, stored.payload) == ("regraft.model.promoted", {"a": 1})


@pytest.mark.slow
def test_an_event_that_is_not_stored_is_an_error(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    import flows.events

    monkeypatch.setattr(flows.events, "_STORED_DEADLINE_SECONDS", 0.5)
    monkeypatch.setattr(flows.events, "_is_stored", lambda _: False)
    with pytest.raises(RegraftError, match=r"that the Prefect server has not stored after \d s.*starts no retraining.*database is locked"):
        emit_model_promoted("toy", {})


@pytest.mark.slow
def test_a_run_whose_process_and_worker_are_gone_is_marked_as_crashed(quiet_stack: Stack) -> None:
    from prefect.client.orchestration import get_client

    from flows.automations import dead_runs_automation, put_automation
    from flows.worker import start_worker, stop_worker

    config = project_config("dead", cooldown_minutes=0)
    deployments = deploy(quiet_stack.workspace, config, sources=SMALL_FLOWS)
    with get_client(sync_client=True) as client:
        quick = dead_runs_automation("dead", (deployments.retrain_id, deployments.monitor_id), dead_after_seconds=60)
        assert put_automation(client, quick) == deployments.dead_runs_automation_id
    worker = start_worker(quiet_stack.workspace, deployments.pool)
    event = emit_drift_detected("dead", {"sleep_seconds": 600})
    run = wait_for_flow_run(deployments.retrain_id, event.occurred, 60)
    assert until(lambda: read_run(run.id).state_type == "RUNNING", 60)
    time.sleep(3)  # the first heartbeat
    # The worker first: it would say itself that its run's process was killed.
    for process in [psutil.Process(worker.pid), *psutil.Process(worker.pid).children(recursive=True)]:
        process.kill()
    dead = wait_until_finished(run.id, deadline_seconds=150)
    assert dead.state_type == "CRASHED"
    assert "No heartbeat for 60 s" in dead.message
    assert stop_worker(quiet_stack.workspace, deployments.pool) is False
