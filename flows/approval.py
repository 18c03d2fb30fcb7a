"""The form by which Prefect asks a person whether a candidate may ship, and the answer to it.

A run of a deployment is suspended: its process ends, no worker is kept, and Prefect starts the run again after the answer. A run without a
deployment has nobody who would start it again, so it is paused: its process waits.
"""

from __future__ import annotations

from datetime import UTC, datetime

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.context import FlowRunContext
from prefect.exceptions import FlowPauseTimeout, ObjectNotFound
from prefect.flow_runs import pause_flow_run, suspend_flow_run
from prefect.input import RunInput
from prefect.runtime import flow_run
from prefect.settings import PREFECT_API_URL
from pydantic import Field

from flows.pages import percent
from flows.records import RunRecord
from pipelines.config import HumanApprovalGate, ProjectConfig
from pipelines.core.errors import ConfigurationError
from pipelines.gates.human_approval import Answer

_POLL_SECONDS = 2


class ApprovalForm(RunInput):
    """What Prefect's page shows, and what `regraft approve` fills in."""

    approve: bool = Field(default=False, title="Approve", description="On: this candidate becomes the champion. Off: it is refused.")
    name: str = Field(title="Your name", description="Kept with the decision.", min_length=1, pattern=r"\S")
    comment: str = Field(default="", title="Comment", description="Why; kept with the decision.")


def approval_gate(config: ProjectConfig) -> HumanApprovalGate | None:
    """The conf file's, if it has one."""
    return next((gate for gate in config.gates if isinstance(gate, HumanApprovalGate)), None)


def require_reachable_server(config: ProjectConfig) -> None:
    """Before anything is trained: a temporary server has no page that a person could open, and no address for `regraft approve`.

    Raises:
        ConfigurationError: The conf file asks for an approval, and no server is named.
    """
    if approval_gate(config) is not None and PREFECT_API_URL.value() is None:
        raise ConfigurationError(
            got="the gate human_approval, and no Prefect server that a person could answer on.",
            allowed="a server that stays up: the workspace's own, or one that PREFECT_API_URL names.",
            next_step="start the workspace's with `regraft deploy`, then run the command again.",
        )


def ask_person(gate: HumanApprovalGate, evidence: str, shown: str) -> Answer | None:
    """Asks, and waits or ends this process; a question that has been answered is not asked again.

    To be called in a flow run, outside of its tasks.

    Args:
        gate: Says how long to wait.
        evidence: Digest of what is shown; a question with another one is another question.
        shown: Markdown above the form.

    Returns:
        None where nobody answered in time.

    Raises:
        prefect.exceptions.Pause: The run of a deployment is suspended now; it is run again after the answer. No `Exception`.
    """
    form, key = ApprovalForm.with_initial_data(description=shown), f"approval-{evidence}"
    seconds = max(1, round(60 * gate.timeout_minutes))
    try:
        if _has_deployment():
            filled = suspend_flow_run(wait_for_input=form, timeout=seconds, key=key)
        else:
            filled = pause_flow_run(wait_for_input=form, timeout=seconds, poll_interval=_POLL_SECONDS, key=key)
    except (FlowPauseTimeout, ObjectNotFound):  # not found: a run that was tried again after its time was over
        return None
    return Answer(approve=filled.approve, name=filled.name, comment=filled.comment, answered_at=_answered_at(filled.metadata.key))


def evidence_text(record: RunRecord) -> str:
    """What a person should know before answering, in Markdown: gates, accuracy against the champion, where the reports are.

    Lists, because the form on Prefect's page is too narrow for tables; the run's artifacts have the tables.

    Args:
        record: Of the run so far.
    """
    against = f"in place of {record.champion_before}" if record.champion_before else "as the first champion"
    parts = [
        f"May bundle `{record.bundle}` of **{record.project}** become champion, {against}? It was learnt from {record.n_samples} samples"
        f" of dataset `{record.dataset}`; the run was started by: {record.trigger}.",
        "**Gates**",
        "\n".join(
            f"- **{row['outcome']}** {_plain(row['condition'])} (n = {row['n']}): {_plain(row['reason'])}" for row in record.decisions
        ),
        "**Accuracy on the test split**, with 95 % intervals",
        "\n".join(_accuracy_lines(record)),
        "**Reports** on the machine that ran this",
        "\n".join(f"- {name.replace('_', ' ')}: `{path}`" for name, path in record.reports.items()),
    ]
    return "\n\n".join(parts)


def _accuracy_lines(record: RunRecord) -> list[str]:
    lines = []
    for domain, now in record.accuracy_by_domain.items():
        before = record.champion_accuracy_by_domain.get(domain)
        compared = f", champion {percent(before)}" if before else ""
        lines.append(f"- {_plain(domain)} (n = {now.n}): {percent(now)}{compared}")
    return [*lines, f"- all (n = {record.accuracy.n}): {percent(record.accuracy)}"] if record.accuracy else lines


def _plain(text: str) -> str:
    """A name of a domain or label is the team's own; it may hold what Markdown or HTML would read as markup."""
    for mark in "\\`*_[]":
        text = text.replace(mark, f"\\{mark}")
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("\n", " ")


def _has_deployment() -> bool:
    context = FlowRunContext.get()
    return context is not None and context.flow_run is not None and context.flow_run.deployment_id is not None


def _answered_at(key: str) -> datetime:
    """When the server took the answer: a suspended run reads it later."""
    with get_client(sync_client=True) as client:
        found = _stored_answer(client, key)
    return found or datetime.now(UTC)


def _stored_answer(client: SyncPrefectClient, key: str) -> datetime | None:
    from uuid import UUID

    stored = client.filter_flow_run_input(UUID(str(flow_run.id)), key_prefix=key, limit=1, exclude_keys=set())
    return stored[0].created if stored else None
