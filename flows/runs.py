"""Flow runs from outside: find the one that an event started, wait for its end, and start it where the event was lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from pydantic import JsonValue

from flows.claims import alarm_of
from flows.events import EmittedEvent
from pipelines.core.errors import RegraftError
from pipelines.progress import Progress, silent

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun

_POLL_SECONDS = 1.0
_RECONCILED_TAG = "regraft-reconciled"


@dataclass(frozen=True)
class FlowRunSummary:
    """A flow run as the server knows it.

    Attributes:
        id: Prefect's.
        name: Prefect's two words.
        state: Name of its state, for example `Running` or `AwaitingConcurrencySlot`.
        state_type: For example `RUNNING`; one of COMPLETED, FAILED, CRASHED and CANCELLED is the end.
        message: Of the state, often the reason of a failure.
        parameters: What it was started with.
        started_by: `automation`, `reconciler`, `schedule` or `person`.
        expected_start: When it was to start; None before the server has scheduled it.
        seconds: Run time so far.
    """

    id: UUID
    name: str
    state: str
    state_type: str
    message: str
    parameters: dict[str, Any]
    started_by: Literal["automation", "reconciler", "schedule", "person"]
    expected_start: datetime | None
    seconds: float

    @property
    def finished(self) -> bool:
        """Whether it has ended, well or not."""
        return self.state_type in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


@dataclass(frozen=True)
class Reconciliation:
    """What became of a drift event.

    Attributes:
        how: `automation`: the automation started the run. `cooldown`: an earlier run is recent enough, and the event starts none.
            `reconciled`: there was no run, so it was started directly.
        run: The run of the event, or the earlier one that the cool-down counts from.
    """

    how: Literal["automation", "cooldown", "reconciled"]
    run: FlowRunSummary


def find_runs(deployment: UUID | str, since: datetime) -> list[FlowRunSummary]:
    """Runs of a deployment that an event started, by the automation or the reconciler, the oldest first.

    Args:
        deployment: Its id, or `flow name/deployment name`.
        since: With a time zone; runs that were to start earlier do not count.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterDeploymentId, FlowRunFilterExpectedStartTime
    from prefect.client.schemas.sorting import FlowRunSort

    with get_client(sync_client=True) as client:
        wanted = FlowRunFilter(
            deployment_id=FlowRunFilterDeploymentId(any_=[deployment_id(deployment)]),
            expected_start_time=FlowRunFilterExpectedStartTime(after_=since),
        )
        runs = client.read_flow_runs(flow_run_filter=wanted, sort=FlowRunSort.EXPECTED_START_TIME_ASC)
    return [summary for summary in map(_summary, runs) if summary.started_by in ("automation", "reconciler")]


def wait_for_flow_run(deployment: UUID | str, since: datetime, deadline_seconds: float, progress: Progress = silent) -> FlowRunSummary:
    """Waits until an event has started a run.

    Args:
        deployment: Its id, or `flow name/deployment name`.
        since: Usually the event's `occurred`.
        deadline_seconds: 3 to 8 s are usual.
        progress: Told the seconds waited, of the deadline.

    Raises:
        RegraftError: No run by the deadline.
    """
    found = _poll(
        lambda: next(iter(find_runs(deployment, since)), None), "waiting for the retraining to be started", deadline_seconds, progress
    )
    if found is None:
        raise RegraftError(
            got=f"no run of the deployment {deployment} within {deadline_seconds:g} s after the event.",
            allowed="a run that the automation starts.",
            next_step="run `regraft deploy` so that the automation is there, or start a run yourself with `regraft retrain`.",
        )
    return found


def wait_until_finished(flow_run_id: UUID, deadline_seconds: float, progress: Progress = silent) -> FlowRunSummary:
    """Waits for a run's end, good or bad: the caller reads `state_type`.

    Args:
        flow_run_id: Of `wait_for_flow_run`.
        deadline_seconds: From now.
        progress: Told the seconds waited, of the deadline, with the run's state.

    Raises:
        RegraftError: It has not ended by the deadline; it goes on.
    """
    last = read_run(flow_run_id)

    def finished() -> FlowRunSummary | None:
        nonlocal last
        last = read_run(flow_run_id)
        return last if last.finished else None

    found = _poll(finished, f"run {last.name}", deadline_seconds, progress)
    if found is None:
        raise RegraftError(
            got=f"the run {last.name}, which is {last.state} after {deadline_seconds:g} s. {last.message}".rstrip(),
            allowed="a run that ends in that time.",
            next_step=f"look at the page of run {flow_run_id}; it goes on. A run that stays Scheduled or Late has no worker.",
        )
    return found


def read_run(flow_run_id: UUID) -> FlowRunSummary:
    """The run as it is now."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        return _summary(client.read_flow_run(flow_run_id))


def reconcile_drift(
    deployment: UUID | str,
    event: EmittedEvent,
    *,
    cooldown_minutes: float,
    wait_seconds: float,
    tell: Callable[[str], None],
    progress: Progress = silent,
) -> Reconciliation:
    """Makes sure that a drift event led to a retraining: on SQLite, Prefect can lose what should have followed it ("database is locked").

    Safe to call again for the same event: the run has the event's id as its idempotency key.

    Args:
        deployment: The retraining's id, or `flow name/deployment name`.
        event: That was emitted, or `latest_drift_event`.
        cooldown_minutes: As deployed; a run this recent means that the event rightly started none.
        wait_seconds: How long the automation may take.
        tell: Told in a sentence when a run had to be started directly.
        progress: Told the seconds waited, of `wait_seconds`.
    """
    recent = find_runs(deployment, event.occurred - timedelta(minutes=cooldown_minutes))
    earlier = [run for run in recent if run.expected_start and run.expected_start < event.occurred]
    if earlier and len(earlier) == len(recent):
        return Reconciliation("cooldown", earlier[-1])
    found = _poll(
        lambda: next(iter(find_runs(deployment, event.occurred)), None),
        "waiting for the automation to start the retraining",
        wait_seconds,
        progress,
    )
    if found is not None:
        return Reconciliation("automation" if found.started_by == "automation" else "reconciled", found)
    lost = f"No run followed the drift event {event.id} within {wait_seconds:g} s: the automation is missing, or Prefect lost it."
    tell(f"{lost} Starting the retraining directly.")
    return Reconciliation("reconciled", _start(deployment, event))


def start_for_alarm(deployment: UUID | str, alarm: str, trigger: Mapping[str, JsonValue]) -> FlowRunSummary:
    """Starts the retraining for an alarm, once: a second call gives the first one's run.

    Args:
        deployment: The retraining's id, or `flow name/deployment name`.
        alarm: Its name, of `flows.claims.alarm_of`.
        trigger: Of the run, as the automation would have given it.
    """
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        run = client.create_flow_run_from_deployment(
            deployment_id(deployment),
            parameters={"trigger": dict(trigger)},
            idempotency_key=f"regraft-drift-{alarm}",
            tags=[_RECONCILED_TAG],
        )
    return _summary(run)


def _start(deployment: UUID | str, event: EmittedEvent) -> FlowRunSummary:
    trigger: dict[str, JsonValue] = {
        "kind": "drift",
        "event": event.name,
        "event_id": str(event.id),
        "evidence": dict(event.payload),
    }
    return start_for_alarm(deployment, alarm_of(trigger) or str(event.id), trigger)


def _poll(look: Callable[[], FlowRunSummary | None], activity: str, deadline_seconds: float, progress: Progress) -> FlowRunSummary | None:
    started = time.monotonic()
    while (found := look()) is None:
        waited = time.monotonic() - started
        if waited > deadline_seconds:
            return None
        progress(activity, int(waited), int(deadline_seconds))
        time.sleep(_POLL_SECONDS)
    progress(activity, int(deadline_seconds), int(deadline_seconds))
    return found


def deployment_id(deployment: UUID | str) -> UUID:
    """The id of a deployment.

    Args:
        deployment: Its id, or `flow name/deployment name`.

    Raises:
        RegraftError: There is none on the server.
    """
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound

    if isinstance(deployment, UUID):
        return deployment
    with get_client(sync_client=True) as client:
        try:
            return client.read_deployment_by_name(deployment).id
        except ObjectNotFound as error:
            raise RegraftError(
                got=f"no deployment {deployment} on the Prefect server.",
                allowed="a deployment that `regraft deploy` has made.",
                next_step="run `regraft deploy`.",
            ) from error


def _summary(run: FlowRun) -> FlowRunSummary:
    state = run.state
    return FlowRunSummary(
        id=run.id,
        name=run.name,
        state=state.name or "" if state else "",
        state_type=state.type.value if state else "",
        message=(state.message or "") if state else "",
        parameters=dict(run.parameters),
        started_by=_starter(run),
        expected_start=run.expected_start_time,
        seconds=run.total_run_time.total_seconds(),
    )


def _starter(run: FlowRun) -> Literal["automation", "reconciler", "schedule", "person"]:
    if run.auto_scheduled:
        return "schedule"
    if _RECONCILED_TAG in run.tags:
        return "reconciler"
    return "automation" if run.created_by is not None and run.created_by.type == "AUTOMATION" else "person"
