"""The flow `retrain`: from the dataset version to a promoted, refused or unchanged champion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger
from prefect.runtime import flow_run

from flows.adapting import ADAPT
from flows.approval import approval_gate, ask_person, evidence_text, require_reachable_server
from flows.claims import alarm_of, take_up
from flows.decided import decided_before, forget_decided, is_told, keep_decided, settle_untold
from flows.exclusive import only_writer
from flows.pending import PendingApproval, forget_pending, read_pending, save_pending
from flows.promotion import repair_pointer
from flows.records import RunRecord, save_record
from flows.result import Result
from flows.retraining import Answered, Retraining, forced_by_caller
from flows.run_progress import shown_on_page
from flows.run_report import announce, report_run
from flows.session import Session, only_conf_file, open_session
from flows.tasks import StepPolicy, carried_out_as, time_limit, watched_by
from flows.triggering import failure_noted, note_refusal, verdict_of
from flows.unanswered import settle_unanswered
from pipelines.core.errors import ConfigurationError
from pipelines.progress import Progress, silent
from pipelines.workspace import Workspace

# After a person's answer an ingestion that happens to be under way is waited for: nobody would answer twice.
_LOCK_SECONDS = 600.0
_N_STEPS = 26  # of a promotion of a model of texts, with reports; fewer of other models and where gates refuse
_TIMEOUT_KEY = "operation.retrain_timeout_minutes"
_KINDS = ("person", "schedule", "drift", "labels", ADAPT)
_N_SHOWN = 60


def run_retrain(
    root: Path, conf: Path | None, overrides: Sequence[str], trigger: str, progress: Progress = silent, force: str | None = None
) -> RunRecord:
    """Runs the flow in this process and shows its progress."""
    session = open_session(root, conf, overrides)
    require_reachable_server(session.config)  # before Prefect starts a temporary one
    forced_by_caller(session, force)
    with watched_by(progress):
        return RunRecord.model_validate(retrain_flow(str(root), {"kind": trigger}, str(conf) if conf else None, list(overrides), force))


def _run_name() -> str:
    parameters = flow_run.parameters
    project = Path(parameters["conf"]).stem if parameters.get("conf") else only_conf_file(Workspace.at(Path(parameters["workspace"]))).stem
    return f"{project}-{(parameters.get('trigger') or {}).get('kind', 'person')}"


@flow(name="retrain", flow_run_name=_run_name, persist_result=False)
def retrain_flow(
    workspace: str,
    trigger: dict[str, Any] | None = None,
    conf: str | None = None,
    overrides: list[str] | None = None,
    force: str | None = None,
) -> dict[str, Any]:
    """Retrains the workspace's model and promotes the result if every gate passes.

    Args:
        workspace: Its folder.
        trigger: `kind` (person, schedule, drift, labels, adapt) and, for drift and labels, `evidence`: the event's payload, with the
            verdict. Nothing: a person.
        conf: Conf file; needed where there are several.
        overrides: `a.b=c` items that replace keys for this run.
        force: Why the result is promoted although gates refuse it; kept in the registry with the git identity.

    Returns:
        The `RunRecord` as JSON.

    Raises:
        ConfigurationError: The trigger is none that a run may have.
        DataError: The verdict in its evidence cannot be read.
    """
    session = open_session(Path(workspace), Path(conf) if conf else None, overrides or ())
    started_by = _checked({"kind": "person"} if trigger is None else trigger)
    require_reachable_server(session.config)
    before = read_pending(session.workspace, str(flow_run.id))
    started = before.record.started if before else datetime.now(UTC)
    run = Retraining(session, str(flow_run.id), started_by, started, forced_by_caller(session, force))
    with carried_out_as(StepPolicy.of(session.config.operation)), shown_on_page(_N_STEPS):
        result = _step(run, None)
        while result.question is not None:
            # Outside of the lock and the time limit: others may write to the workspace while a person thinks.
            result = _step(run, _ask(session, result.question))
    return result.record.model_dump(mode="json")


def _checked(trigger: dict[str, Any]) -> dict[str, Any]:
    """Before anything is read or trained: whoever calls the deployment writes the trigger by hand."""
    if trigger.get("kind") not in _KINDS:
        raise ConfigurationError(
            got=f"a trigger of kind {trigger['kind']!r}." if "kind" in trigger else "a trigger without a kind.",
            allowed=f"an object with `kind`, one of {', '.join(_KINDS)}; for drift and labels with `evidence` as well.",
            next_step='correct the parameter `trigger` of the run, for example {"kind": "person"}, or leave it out.',
        )
    if not isinstance(trigger.get("evidence") or {}, dict):
        raise ConfigurationError(
            got=f"a trigger whose evidence is {str(trigger['evidence'])[:_N_SHOWN]!r}.",
            allowed="the payload of the event: an object with `verdict` and `report`.",
            next_step="correct `trigger.evidence` of the run, or leave it out.",
        )
    verdict_of(trigger)
    return trigger


def _step(run: Retraining, answered: Answered | None) -> Result:
    """Carries the run on, and keeps and shows where it stands."""
    workspace, minutes = run.session.workspace, run.session.config.operation.retrain_timeout_minutes
    shown = read_pending(workspace, run.run)
    with only_writer(workspace, _LOCK_SECONDS if shown else 0), time_limit("this retraining", minutes, _TIMEOUT_KEY):
        if answered is None:
            if (told := is_told(run.session, run.run)) is not None:
                return Result(told)
            settle_untold(run.session, run.run)
            settle_unanswered(run.session, run.run)
            repair_pointer(run.session)
        with failure_noted(run.session, run.run, run.trigger["kind"]):
            result = decided_before(run.session, run.run) or _learnt_once(run, answered)
        if shown and result.question and shown.evidence == result.question.evidence:
            return replace(result, question=shown)
        if result.question:
            save_pending(workspace, result.question)
        else:
            keep_decided(run.session, result)
        save_record(workspace, result.record)  # before anything that only shows it: the decision has been made
        note_refusal(run.session, result.record)
        if result.question is None:
            forget_pending(workspace, run.run)
        champion = result.judged.champion_evaluation if result.judged else None
        record = report_run(run.session, result.record, result.candidate, champion.path if champion else None, result.card, run.run_step)
        save_record(workspace, record)
        announce(record)
        if result.question is None:
            forget_decided(workspace, run.run)
            return replace(result, record=record)
        question = result.question.model_copy(update={"record": record})
        save_pending(workspace, question)
        return replace(result, record=record, question=question)


def _learnt_once(run: Retraining, answered: Answered | None) -> Result:
    """Carries the run on, unless another one has taken up the same alarm."""
    alarm = alarm_of(run.trigger)
    owner = take_up(run.session.workspace, alarm, run.run) if alarm else run.run
    if owner == run.run:
        return run.carry_out(answered)
    return run.skipped(f"The alarm {alarm} was taken up by the run {owner}: it arrived twice.")


def _ask(session: Session, question: PendingApproval) -> Answered:
    gate = approval_gate(session.config)
    if gate is None:
        raise RuntimeError("a question without the gate that asks it")
    get_run_logger().warning("%s", question.record.reason)
    return Answered(question.evidence, ask_person(gate, question.evidence, evidence_text(question.record)))
