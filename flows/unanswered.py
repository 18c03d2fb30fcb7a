"""Questions that nobody answered: refusals, recorded by the next run, because the process that asked has ended long ago."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from flows.approval import approval_gate
from flows.decided import promotion_by
from flows.pending import PendingApproval, all_pending, config_digest, forget_pending
from flows.records import RunRecord, save_record
from flows.retraining import keep_refusal
from flows.run_report import announce
from flows.session import Session
from flows.tasks import in_task
from flows.triggering import note_refusal
from pipelines.config import HumanApprovalGate
from pipelines.gates.human_approval import human_approval


def settle_unanswered(session: Session, run: str) -> None:
    """Refuses the candidates whose runs ended without an answer.

    Args:
        session: Whose workspace; its lock must be held.
        run: That of now, which is not looked at.
    """
    for pending in all_pending(session.workspace):
        if pending.record.run == run or pending.record.project != session.config.project:
            continue
        why = _why_over(pending)
        if why is None:
            continue
        promotion = promotion_by(session, pending.record.run)
        if promotion is not None:
            announce(_settle(session, pending, {"outcome": "promoted", "reason": promotion.why, "version": promotion.version}))
        else:
            _refuse(session, pending, why)


def _why_over(pending: PendingApproval) -> str | None:
    """None where the run still waits, or is going on after an answer."""
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound

    with get_client(sync_client=True) as client:
        try:
            state = client.read_flow_run(UUID(pending.record.run)).state
        except ObjectNotFound:  # another server's run: only its time tells
            over = datetime.now(UTC) > pending.deadline
            return f"nobody answered until {pending.deadline:%Y-%m-%d %H:%M} UTC." if over else None
    if state is None or not state.is_final():
        return None
    return f"the run ended as {state.name} before an answer counted: {state.message or 'Prefect says no more'}"


def _refuse(session: Session, pending: PendingApproval, why: str) -> None:
    gate = approval_gate(session.config) or HumanApprovalGate(kind="human_approval")
    judgement = pending.judgement.with_more([human_approval(gate, None, pending.evidence, why)])
    keep_refusal(session, str(pending.record.dataset), str(pending.record.bundle), judgement, in_task)
    decisions = [decision.model_dump(mode="json") for decision in judgement.decisions]
    announce(_settle(session, pending, {"outcome": "refused", "reason": judgement.summary, "decisions": decisions}))


def _settle(session: Session, pending: PendingApproval, changes: dict[str, object]) -> RunRecord:
    settled = RunRecord.model_validate(pending.record.model_dump() | changes | {"finished": datetime.now(UTC)})
    save_record(session.workspace, settled)
    note_refusal(session, settled, same_settings=pending.config == config_digest(session.config))
    forget_pending(session.workspace, settled.run)
    return settled
