"""A person's answer from a terminal: through Prefect's API, as the form on its page sends it."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID

from flows.pending import all_pending
from flows.session import Session
from pipelines.core.errors import ConfigurationError, RefusedError

if TYPE_CHECKING:
    from prefect.client.schemas import OrchestrationResult

# A worker with a limit ends with an error where a run is to start again whose process has not ended yet (Prefect 3.8.8); a person at a form
# is slower than that.
_PROCESS_END_SECONDS = 10.0
_LIST = "`regraft status` names the run of now; Prefect's page lists all of them."


def answer_run(session: Session, run: str, *, approve: bool, name: str, comment: str) -> str:
    """Answers the question of a run.

    Args:
        session: Of the workspace.
        run: Id of the flow run or its beginning; empty for the only one of the workspace that waits.
        approve: Whether the candidate may ship.
        name: Who answers.
        comment: Why.

    Returns:
        The id of the run.

    Raises:
        ConfigurationError: No server is named, no such run, no name, or several runs that fit.
        RefusedError: The run does not wait, or not any more.
    """
    from prefect.settings import PREFECT_API_URL

    if PREFECT_API_URL.value() is None:
        raise ConfigurationError(
            got="no Prefect server: this workspace has started none, and PREFECT_API_URL is not set.",
            allowed="the server that the run waits on.",
            next_step="export PREFECT_API_URL as it is where the run was started.",
        )
    if not name.strip():
        raise ConfigurationError(got="an empty name.", allowed="who answers; it is kept.", next_step="give one with --by NAME.")
    flow_run = _find(session, run)
    result = _resume(flow_run, {"approve": approve, "name": name.strip(), "comment": comment.strip()})
    if result.status.value != "ACCEPT":
        said = getattr(result.details, "reason", None) or "Prefect gave no reason"
        raise RefusedError(
            got=f"run {flow_run}, which takes no answer: {said}",
            allowed="a run that waits for an approval and whose time is not over.",
            next_step=f"look at it on Prefect's page; where its time is over, start another with `regraft retrain`. {_LIST}",
        )
    return str(flow_run)


def _resume(flow_run: UUID, answer: dict[str, object]) -> OrchestrationResult[object]:
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound

    with get_client(sync_client=True) as client:
        try:
            state = client.read_flow_run(flow_run).state
        except ObjectNotFound as error:
            raise _unknown(str(flow_run), "that Prefect's server does not know") from error
        if state is not None and state.name == "Suspended":
            time.sleep(max(0.0, _PROCESS_END_SECONDS - (datetime.now(UTC) - state.timestamp).total_seconds()))
        return client.resume_flow_run(flow_run, run_input=answer)


def _find(session: Session, run: str) -> UUID:
    waiting = [pending.record.run for pending in all_pending(session.workspace)]
    fitting = [name for name in waiting if name.startswith(run)]
    if len(fitting) == 1:
        return UUID(fitting[0])
    try:
        return UUID(run)
    except ValueError as error:
        listed = f"; waiting: {', '.join(waiting)}" if waiting else "; none waits"
        raise _unknown(run, f"that fits {len(fitting)} waiting runs{listed}") from error


def _unknown(run: str, problem: str) -> ConfigurationError:
    return ConfigurationError(
        got=f"the run {run or '(none named)'}, {problem}.",
        allowed="the id of a run that waits for an approval, or its beginning.",
        next_step=_LIST,
    )
