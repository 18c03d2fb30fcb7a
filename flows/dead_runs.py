"""Runs whose process is gone: found by their silence, marked as crashed, and started again where they stood.

The automation of `flows.automations` marks a dead run within minutes, but its trigger lives in the server's memory: a server that is down
at that moment, or restarts, forgets it. This asks the database instead, so it finds the run whenever it looks.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from pipelines.core.errors import RegraftError

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas import OrchestrationResult
    from prefect.client.schemas.objects import FlowRun, State, StateType

_HEARTBEAT = "prefect.flow-run.heartbeat"
_RESUMED = "Started again by the reconciler after a crash"
# From PENDING a process takes 8 to 15 s to its first heartbeat; a container may have an image to fetch.
_PENDING_DEAD_AFTER_SECONDS = 900


def mark_dead_runs(client: SyncPrefectClient, deployment_ids: Sequence[UUID], dead_after_seconds: float) -> list[FlowRun]:
    """Marks runs as crashed that are said to run and have sent no heartbeat for so long.

    A run that waits for a person, or for its deployment's concurrency slot, has no process and is not said to run.

    Args:
        client: Of the server.
        deployment_ids: Only runs of these are touched.
        dead_after_seconds: Several heartbeats long.

    Returns:
        The runs that were marked, the longest begun first.
    """
    from prefect.client.schemas.objects import StateType
    from prefect.states import Crashed

    now, dead = datetime.now(UTC), []
    for run in _runs(client, deployment_ids, [StateType.RUNNING, StateType.PENDING]):
        limit = dead_after_seconds if _type(run) == StateType.RUNNING else max(dead_after_seconds, _PENDING_DEAD_AFTER_SECONDS)
        begun = run.state.timestamp if run.state else None
        if begun is None or (now - begun).total_seconds() < limit or _has_heartbeat(client, run.id, now - timedelta(seconds=limit)):
            continue
        message = f"No heartbeat for {limit:g} s: its process and its worker are gone. Found by the reconciler."
        client.set_flow_run_state(run.id, Crashed(message=message))
        dead.append(run)
    return dead


def crashed_run(client: SyncPrefectClient, deployment_id: UUID, since: datetime) -> FlowRun | None:
    """The last retraining, where it crashed; None where a later one has begun, is due or has ended well: it does the work.

    Args:
        client: Of the server.
        deployment_id: Of the flow `retrain`.
        since: A crash before that is left alone.
    """
    from prefect.client.schemas.objects import StateType

    begun = [run for run in _runs(client, [deployment_id], None) if run.start_time is not None]
    last = max(begun, key=lambda run: run.start_time or since, default=None)
    if last is None or _type(last) != StateType.CRASHED or (last.end_time or last.start_time or since) < since:
        return None
    return None if is_at_work(client, deployment_id) else last


def crashed_batches(client: SyncPrefectClient, deployment_id: UUID, since: datetime) -> list[FlowRun]:
    """The runs that crashed, but for those whose file of predictions a later run writes: each has inputs of its own.

    Args:
        client: Of the server.
        deployment_id: Of the flow `batch`.
        since: A crash before that is left alone.
    """
    from prefect.client.schemas.objects import StateType

    latest = {str(run.parameters.get("out")): run for run in _runs(client, [deployment_id], None)}
    return [run for run in latest.values() if _type(run) == StateType.CRASHED and (run.end_time or run.start_time or since) >= since]


def is_at_work(client: SyncPrefectClient, deployment_id: UUID) -> bool:
    """Whether a run of the deployment is under way, about to be, or waits for a person; runs that a schedule has planned do not count."""
    from prefect.client.schemas.objects import StateType

    states = [StateType.RUNNING, StateType.PENDING, StateType.PAUSED, StateType.CANCELLING, StateType.SCHEDULED]
    soon = datetime.now(UTC) + timedelta(minutes=1)
    return any(run.expected_start_time is None or run.expected_start_time < soon for run in _runs(client, [deployment_id], states))


def start_again(client: SyncPrefectClient, run: FlowRun, max_resumes: int, deployment: str) -> bool:
    """Puts a crashed run back into its queue, under the same id and with the same parameters: a worker carries it out.

    Args:
        client: Of the server.
        run: That crashed.
        max_resumes: How often this is done with one run.
        deployment: `flow name/deployment name`, for the error.

    Returns:
        Whether it was; False where it has been started again often enough: it crashes for a reason.

    Raises:
        RegraftError: The server refused.
    """
    from prefect.states import Scheduled

    history: Sequence[State] = client.read_flow_run_states(run.id)
    n_resumed = sum((state.message or "").startswith(_RESUMED) for state in history)
    if n_resumed >= max_resumes:
        return False
    message = f"{_RESUMED} ({n_resumed + 1} of at most {max_resumes} times)."
    # Forced: a crash is an end, and Prefect's rules let nothing follow an end.
    answer: OrchestrationResult[Any] = client.set_flow_run_state(run.id, Scheduled(message=message), force=True)
    if answer.status.value != "ACCEPT":
        raise RegraftError(
            got=f"the Prefect server, which did not start the run {run.name} again: {answer.details}.",
            allowed="a run that can be scheduled again.",
            next_step=f"start a new one with the same parameters: `prefect deployment run {deployment}`.",
        )
    return True


def _has_heartbeat(client: SyncPrefectClient, run: UUID, since: datetime) -> bool:
    from prefect.events.filters import EventFilter, EventNameFilter, EventOccurredFilter, EventResourceFilter

    wanted = EventFilter(
        occurred=EventOccurredFilter(since=since),
        event=EventNameFilter(name=[_HEARTBEAT]),
        resource=EventResourceFilter(id=[f"prefect.flow-run.{run}"]),
    )
    return bool(client.read_events(wanted, limit=1).events)


def _runs(client: SyncPrefectClient, deployment_ids: Sequence[UUID], states: Sequence[StateType] | None) -> list[FlowRun]:
    """The latest 200, the longest expected first."""
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterDeploymentId, FlowRunFilterState, FlowRunFilterStateType
    from prefect.client.schemas.sorting import FlowRunSort

    wanted = FlowRunFilter(
        deployment_id=FlowRunFilterDeploymentId(any_=list(deployment_ids)),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=list(states))) if states is not None else None,
    )
    return client.read_flow_runs(flow_run_filter=wanted, sort=FlowRunSort.EXPECTED_START_TIME_DESC, limit=200)[::-1]


def _type(run: FlowRun) -> StateType | None:
    return run.state.type if run.state else None
