"""What a run has decided and not told yet: kept so that a kill between the two does not make something else of it.

`.regraft/decided/RUN.json`. A promotion is written down before the registry changes, any other outcome before its record; the file goes
when the outcome is recorded, shown and announced. A run that is started again under its id goes on from here instead of asking the policy
anew, which would find that there is nothing new to learn from: the run itself has learned it. Where it never comes back, the next run of
the project ends it. So each decision is announced at least once.
"""

from __future__ import annotations

from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict

from flows.judging import Judged
from flows.kept_candidate import kept_candidate, kept_output, place_in_store
from flows.kept_runs import KeptRuns
from flows.pending import config_digest, forget_pending, read_pending
from flows.records import Outcome, RunRecord, read_record, save_record
from flows.result import Result
from flows.run_report import announce
from flows.session import Session
from flows.triggering import note_refusal
from pipelines.store import is_complete
from pipelines.versioning.registry import ChampionRecord, history
from pipelines.workspace import Workspace


class DecidedRun(BaseModel):
    """A decision, with what its report is made from.

    Attributes:
        record: As it was decided.
        config: Digest of the configuration that it was decided under.
        outputs: Of the candidate's stages: by name, where the output lies in the store; none where there is no candidate.
        champion_evaluation: Where it lies in the store; None where there is none.
        card: Text of the model card, where a version was registered.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    record: RunRecord
    config: str
    outputs: dict[str, str] = {}
    champion_evaluation: str | None = None
    card: str = ""

    @classmethod
    def of(cls, session: Session, result: Result) -> DecidedRun:
        """What a run has decided."""
        workspace = session.workspace
        outputs = result.candidate.outputs if result.candidate else {}
        evaluation = result.judged.champion_evaluation if result.judged else None
        return cls(
            record=result.record,
            config=config_digest(session.config),
            outputs={name: place_in_store(workspace, output) for name, output in outputs.items()},
            champion_evaluation=place_in_store(workspace, evaluation) if evaluation else None,
            card=result.card,
        )

    def result(self, workspace: Workspace) -> Result:
        """The same again; without the candidate where outputs of it are gone."""
        record = self.record.model_copy(update={"finished": datetime.now(UTC)})
        candidate = kept_candidate(workspace, self.outputs, record.bundle)
        if candidate is None:
            return Result(record, card=self.card)
        evaluation = kept_output(workspace, self.champion_evaluation) if self.champion_evaluation else None
        if evaluation is not None and not is_complete(evaluation.path):
            evaluation = None
        return Result(record, candidate, self.card, judged=Judged(None, candidate.outputs["evaluate"], None, evaluation))


_KEPT = KeptRuns("decided", DecidedRun)


def keep_decided(session: Session, result: Result) -> None:
    """Before what was decided is carried out or told."""
    _KEPT.save(session.workspace, result.record.run, DecidedRun.of(session, result))


def forget_decided(workspace: Workspace, run: str) -> None:
    """Once it is told."""
    _KEPT.forget(workspace, run)


def decided_before(session: Session, run: str) -> Result | None:
    """What this very run decided before it was killed; None where it had not decided, or its promotion did not come about.

    Where it cannot be read, it is set aside, and what the registry or the run's record says of it counts.

    Args:
        session: Whose workspace; its lock must be held.
        run: Id of the flow run.
    """
    kept = _KEPT.read(session.workspace, run)
    promotion = promotion_by(session, run)
    if kept is not None and (kept.record.outcome != "promoted" or promotion is not None):
        return kept.result(session.workspace)
    if kept is not None:
        return None
    refused = None
    if _KEPT.exists(session.workspace, run):
        _KEPT.set_aside(session.workspace, run)
        refused = _recorded_end(session.workspace, run, "refused")
    return _result_from_registry(session, promotion) if promotion else Result(refused) if refused else None


def is_told(session: Session, run: str) -> RunRecord | None:
    """The record of a promotion or a refusal of this run that is told already: only the end of its process was missing.

    The policy would find nothing new for it to learn from, and its end would be `skipped`: the judgement would be lost.
    """
    is_open = _KEPT.exists(session.workspace, run) or read_pending(session.workspace, run) is not None
    return None if is_open else _recorded_end(session.workspace, run, "promoted", "refused")


def settle_untold(session: Session, run: str) -> None:
    """Records and announces what other runs of the project decided before they were killed.

    Args:
        session: Whose workspace; its lock must be held, so that none of them is at work.
        run: That of now, which is not looked at.
    """
    for other in _KEPT.unreadable(session.workspace):
        # Whose project it is cannot be read either, so that only the registry tells.
        if other != run and promotion_by(session, other) is not None and (promoted := decided_before(session, other)) is not None:
            keep_decided(session, promoted)
    left = [kept for kept in _KEPT.all(session.workspace) if kept.record.run != run and kept.record.project == session.config.project]
    for kept in sorted(left, key=lambda kept: kept.record.started):
        decided = decided_before(session, kept.record.run)
        if decided is not None:
            _settle(session, decided.record, same_settings=kept.config == config_digest(session.config))
        forget_decided(session.workspace, kept.record.run)


def _recorded_end(workspace: Workspace, run: str, *outcomes: Outcome) -> RunRecord | None:
    record = read_record(workspace, run)
    return record if record is not None and record.outcome in outcomes else None


def _settle(session: Session, decided: RunRecord, *, same_settings: bool) -> None:
    saved = read_record(session.workspace, decided.run)
    record = saved if saved is not None and saved.outcome == decided.outcome else decided  # the saved one has its reports
    save_record(session.workspace, record)
    note_refusal(session, record, same_settings=same_settings)
    forget_pending(session.workspace, record.run)
    announce(record)


def promotion_by(session: Session, run: str) -> ChampionRecord | None:
    """The promotion that a run has made; None where it has made none."""
    changes = history(session.workspace.root, session.config.project)
    return next((change for change in changes if change.evidence.get("run") == run), None)


def _result_from_registry(session: Session, promotion: ChampionRecord) -> Result:
    """What git keeps of it, where the workspace has lost the rest."""
    evidence = promotion.evidence
    content = {
        "run": evidence["run"],
        "project": promotion.project,
        "trigger": evidence["trigger"],
        "started": promotion.promoted_at,
        "finished": promotion.promoted_at,
        "outcome": "promoted",
        "reason": promotion.why,
        "version": promotion.version,
        "dataset": evidence["dataset"],
        "bundle": promotion.bundle_id,
        "decisions": evidence["decisions"],
        "forced": evidence["forced"],
    }
    return Result(RunRecord.model_validate(content))
