"""One retraining, step by step: from the dataset version to a promoted, refused or unchanged champion, or to a question for a person."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import JsonValue

from flows.adapting import ADAPT, adapted_session
from flows.approval import approval_gate
from flows.decided import keep_decided
from flows.device_lock import alone_on
from flows.judging import Judged, judge_candidate, withdrawn_version
from flows.kept_candidate import place_in_store
from flows.learning import Candidate, RunStep, make_candidate
from flows.pending import PendingApproval, config_digest, read_pending
from flows.promotion import promote_version
from flows.records import Outcome, RunRecord
from flows.result import Result
from flows.session import Session
from flows.shipping import Shipped, Trial, ship, shipping_decisions, try_bento
from flows.tasks import in_task, watcher
from flows.triggering import learn_from_feedback
from pipelines.config import HumanApprovalGate
from pipelines.core.errors import ConfigurationError
from pipelines.gates.decision import Forced, Judgement
from pipelines.gates.human_approval import Answer, human_approval, not_asked
from pipelines.stages import Stages
from pipelines.versioning import git
from pipelines.versioning.dataset import dataset_version
from pipelines.versioning.registry import champion, record_refusal


@dataclass(frozen=True)
class Answered:
    """A question that was asked, and what came of it.

    Attributes:
        evidence: Digest of what was shown.
        answer: None where nobody answered in time.
    """

    evidence: str
    answer: Answer | None


@dataclass(frozen=True)
class _Case:
    """What is decided on."""

    dataset: str
    candidate: Candidate
    judged: Judged
    seconds: dict[str, float]

    def with_judgement(self, judgement: Judgement) -> _Case:
        return replace(self, judged=replace(self.judged, judgement=judgement))


@dataclass(frozen=True)
class Retraining:
    """A run of the flow.

    Attributes:
        session: Its workspace and configuration.
        run: Id of the flow run.
        trigger: `kind` (person, schedule, drift, labels, adapt) and, for drift, `evidence`.
        started: In UTC.
        force: Who promotes whatever gates say, and why.
        run_step: How each step is run.
    """

    session: Session
    run: str
    trigger: dict[str, Any]
    started: datetime
    force: Forced | None = None
    run_step: RunStep = in_task

    def carry_out(self, answered: Answered | None = None) -> Result:
        """Runs up to the end, or up to the question that only a person can answer.

        A run that has asked goes on with the very candidate that it showed. The judgement stands, too, unless the champion has changed.

        Args:
            answered: What this run asked before; it counts only where the same evidence leads to the same question.
        """
        pending = read_pending(self.session.workspace, self.run)
        adapts = ADAPT in (self.trigger["kind"], pending.record.trigger if pending else None)
        return (self._adapting() if adapts else self)._carried_out(answered)

    def _adapting(self) -> Retraining:
        """The same run, with a snapshot of unlabelled samples to adapt to."""
        session = self.run_step("unlabelled samples", adapted_session, self.session, self.run)
        return replace(self, session=session, trigger=self.trigger | {"kind": ADAPT})

    def _carried_out(self, answered: Answered | None) -> Result:
        kept = self._kept()
        if kept is None and self.trigger["kind"] not in ("person", ADAPT):
            lesson = self.run_step("ingest feedback", learn_from_feedback, self.session, self.trigger, self.run)
            if lesson.decision.action == ADAPT:
                return self._adapting()._carried_out(answered)
            if not lesson.start:
                return Result(self._record("skipped", lesson.reason))
        case, judged_before = self._resumed(kept) if kept else (self._learnt(), False)
        if withdrawn := withdrawn_version(self.session, case.candidate.bundle_id):
            return Result(self._record("refused", withdrawn, case), case.candidate, judged=case.judged)
        judgement = case.judged.judgement
        if judgement is None:
            record = self._record("unchanged", "The same data and configuration give the champion itself.", case)
            return Result(record, case.candidate, judged=case.judged)
        if not self._may_go_on(judgement):
            return self._refused(case, judgement)
        trial = try_bento(self.session, case.candidate, self.run, self.run_step)
        if not judged_before:
            judgement = judgement.with_more(shipping_decisions(self.session.config.gates, trial))
            case = replace(case.with_judgement(judgement), seconds=case.seconds | trial.seconds)
        return self._decide(case, judgement, trial, answered)

    def skipped(self, reason: str) -> Result:
        """Ends the run before it learns anything."""
        return Result(self._record("skipped", reason))

    def _device(self) -> AbstractContextManager[None]:
        config = self.session.config
        return alone_on(config.device, config.operation.device_wait_minutes, f"the run {self.run} of {config.project}")

    def _decide(self, case: _Case, judgement: Judgement, trial: Trial, answered: Answered | None) -> Result:
        gate = approval_gate(self.session.config)
        if gate is not None and self.force is not None:
            judgement = judgement.with_more([not_asked(self.force)])
        elif gate is not None and judgement.promote:
            question = self._question(case, judgement, gate)
            if answered is None or answered.evidence != question.evidence:
                return Result(question.record, case.candidate, question=question, judged=case.judged)
            judgement = judgement.with_more([human_approval(gate, answered.answer, answered.evidence)])
        judgement = judgement.forced_by(self.force)
        case = case.with_judgement(judgement)
        return self._promoted(case, judgement, trial) if judgement.promote else self._refused(case, judgement)

    def _may_go_on(self, judgement: Judgement) -> bool:
        return judgement.forced_by(self.force).promote

    def _kept(self) -> PendingApproval | None:
        """What this run showed a person before, where it still can go on with it."""
        kept = read_pending(self.session.workspace, self.run)
        same = kept is not None and kept.config == config_digest(self.session.config)
        return kept if same and kept is not None and kept.candidate(self.session.workspace) is not None else None

    def _resumed(self, kept: PendingApproval) -> tuple[_Case, bool]:
        workspace, candidate = self.session.workspace, kept.candidate(self.session.workspace)
        if candidate is None:  # removed between two looks: nothing to go on with
            return self._learnt(), False
        before = kept.judged(workspace, champion(workspace.root, self.session.config.project))
        judged = before or judge_candidate(self.session, candidate, self.trigger["kind"], self.run_step)
        return _Case(str(kept.record.dataset), candidate, judged, kept.record.stages_seconds), before is not None

    def _learnt(self) -> _Case:
        dataset = self.run_step("dataset", dataset_version, self.session.workspace.root).digest
        candidate = make_candidate(Stages(self.session.workspace, self.session.config, watcher(), self._device), dataset, self.run_step)
        judged = judge_candidate(self.session, candidate, self.trigger["kind"], self.run_step)
        return _Case(dataset, candidate, judged, candidate.seconds | dict(judged.seconds))

    def _question(self, case: _Case, judgement: Judgement, gate: HumanApprovalGate) -> PendingApproval:
        workspace, evaluation = self.session.workspace, case.judged.champion_evaluation
        reason = f"{judgement.summary} Waiting for a person: regraft approve {self.run} --by NAME --why REASON (or --refuse)."
        return PendingApproval(
            record=self._record("waiting", reason, case),
            deadline=datetime.now(UTC) + timedelta(minutes=gate.timeout_minutes),
            config=config_digest(self.session.config),
            outputs={name: place_in_store(workspace, output) for name, output in case.candidate.outputs.items()},
            champion_tag=case.judged.champion.tag if case.judged.champion else None,
            champion_evaluation=place_in_store(workspace, evaluation) if evaluation else None,
            judgement=judgement,
        )

    def _refused(self, case: _Case, judgement: Judgement) -> Result:
        keep_refusal(self.session, case.dataset, case.candidate.bundle_id, judgement, self.run_step)
        unheard = " It cannot be forced: what does not answer as stored is not the model that was judged." if self.force else ""
        return Result(self._record("refused", judgement.summary + unheard, case), case.candidate, judged=case.judged)

    def _promoted(self, case: _Case, judgement: Judgement, trial: Trial) -> Result:
        evidence: dict[str, JsonValue] = {
            "trigger": self.trigger["kind"],
            "run": self.run,
            "dataset": case.dataset,
            "bundle": case.candidate.bundle_id,
        }
        shipped = ship(self.session, case.candidate, judgement, evidence, trial, self.run_step)
        result = Result(self._record("promoted", judgement.summary, case, shipped), case.candidate, shipped.card, judged=case.judged)
        keep_decided(self.session, result)  # a kill from here on must not make something else of it
        decided = judgement.model_dump(mode="json", include={"decisions", "forced"})
        self.run_step(
            "promote", promote_version, self.session, shipped.version, judgement.summary, evidence | decided, case.judged.champion_version
        )
        return replace(result, record=result.record.model_copy(update={"finished": datetime.now(UTC)}))

    def _record(self, outcome: Outcome, reason: str, case: _Case | None = None, shipped: Shipped | None = None) -> RunRecord:
        facts: dict[str, Any] = case.judged.as_record() if case else {}
        if case:
            facts |= {
                "dataset": case.dataset,
                "bundle": case.candidate.bundle_id,
                "n_samples": case.candidate.n_samples,
                "reports": case.candidate.reports,
                "stages_seconds": case.seconds,
                "forced": case.judged.judgement.forced if case.judged.judgement else None,
            }
        return RunRecord(
            run=self.run,
            project=self.session.config.project,
            trigger=self.trigger["kind"],
            started=self.started,
            finished=datetime.now(UTC),
            outcome=outcome,
            reason=reason,
            version=shipped.version if shipped else None,
            **facts,
        )


def keep_refusal(session: Session, dataset: str, bundle: str, judgement: Judgement, run_step: RunStep) -> None:
    """Commits why a candidate did not ship."""
    decision = {"dataset": dataset, "bundle": bundle, **judgement.model_dump(mode="json")}
    run_step("record refusal", record_refusal, session.workspace.root, bundle, decision)


def forced_by_caller(session: Session, reason: str | None) -> Forced | None:
    """The person who starts the run, by git's identity, and the reason; None where nothing is forced.

    Raises:
        ConfigurationError: The reason is empty, or git knows no identity.
    """
    if reason is None:
        return None
    if not reason.strip():
        raise ConfigurationError(
            got="force without a reason.",
            allowed="a sentence that says why gates are overridden; it is kept in the registry.",
            next_step='give one: regraft retrain --force "the line stands still until this ships".',
        )
    who = git.identity(session.workspace.root)
    return Forced(reason=reason.strip(), by=f"{who.name} <{who.email}>")
