"""The flow `retrain`: from the dataset version to a promoted, refused or unchanged champion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.runtime import flow_run

from flows.exclusive import only_writer
from flows.ingestion import learn_from_feedback
from flows.judging import Judged, judge_candidate, withdrawn_version
from flows.learning import Candidate, make_candidate
from flows.learning_report import read_learning
from flows.promotion import promote_version, repair_pointer
from flows.records import Outcome, RunRecord, save_record
from flows.run_report import announce, publish_run
from flows.session import Session, only_conf_file, open_session
from flows.shipping import Shipped, ship
from flows.tasks import in_task, watched_by, watcher
from pipelines.gates.decision import Judgement
from pipelines.progress import Progress, silent
from pipelines.stages import Stages
from pipelines.versioning.dataset import dataset_version
from pipelines.versioning.registry import record_refusal
from pipelines.workspace import Workspace


def run_retrain(root: Path, conf: Path | None, overrides: Sequence[str], trigger: str, progress: Progress = silent) -> RunRecord:
    """Runs the flow in this process and shows its progress."""
    with watched_by(progress):
        return RunRecord.model_validate(retrain_flow(str(root), {"kind": trigger}, str(conf) if conf else None, list(overrides)))


def _run_name() -> str:
    parameters = flow_run.parameters
    project = Path(parameters["conf"]).stem if parameters.get("conf") else only_conf_file(Workspace.at(Path(parameters["workspace"]))).stem
    return f"{project}-{(parameters.get('trigger') or {}).get('kind', 'person')}"


@flow(name="retrain", flow_run_name=_run_name, persist_result=False)
def retrain_flow(
    workspace: str, trigger: dict[str, Any] | None = None, conf: str | None = None, overrides: list[str] | None = None
) -> dict[str, Any]:
    """Retrains the workspace's model and promotes the result if every gate passes.

    Args:
        workspace: Its folder.
        trigger: `kind` (person, schedule, drift, labels) and, for drift, `evidence`: the event's payload.
        conf: Conf file; needed where there are several.
        overrides: `a.b=c` items that replace keys for this run.

    Returns:
        The `RunRecord` as JSON.
    """
    session = open_session(Path(workspace), Path(conf) if conf else None, overrides or ())
    with only_writer(session.workspace):
        run = _Run(session, trigger or {"kind": "person"}, datetime.now(UTC))
        repair_pointer(session)
        result = run.carry_out()
        save_record(session.workspace, result.record)  # before anything that only shows it: the decision has been made
        learnt = read_learning(result.output("train"), result.output("select"), result.output("check_weights"))
        record = publish_run(session.workspace, result.record, learnt, result.card)
        save_record(session.workspace, record)
        announce(record)
    return record.model_dump(mode="json")


@dataclass(frozen=True)
class _Result:
    record: RunRecord
    candidate: Candidate | None = None
    card: str = ""

    def output(self, stage: str) -> Path | None:
        """Of a stage; None where the run did not get that far, or had no need of it."""
        found = self.candidate.outputs.get(stage) if self.candidate else None
        return found.path if found else None


@dataclass(frozen=True)
class _Run:
    session: Session
    trigger: dict[str, Any]
    started: datetime

    def carry_out(self) -> _Result:
        if self.trigger["kind"] == "drift":
            lesson = in_task("ingest feedback", learn_from_feedback, self.session, self.trigger)
            if not lesson.start:
                return _Result(self._record("skipped", lesson.reason))
        dataset = in_task("dataset", dataset_version, self.session.workspace.root).digest
        candidate = make_candidate(Stages(self.session.workspace, self.session.config, watcher()), dataset, in_task)
        judged = judge_candidate(self.session, candidate, self.trigger["kind"], in_task)
        if withdrawn := withdrawn_version(self.session, candidate.bundle_id):
            return _Result(self._record("refused", withdrawn, dataset, candidate, judged), candidate)
        if judged.judgement is None:
            reason = "The same data and configuration give the champion itself."
            return _Result(self._record("unchanged", reason, dataset, candidate, judged), candidate)
        if not judged.judgement.promote:
            return _Result(self._refuse(dataset, candidate, judged, judged.judgement), candidate)
        record, shipped = self._promote(dataset, candidate, judged, judged.judgement)
        return _Result(record, candidate, shipped.card)

    def _refuse(self, dataset: str, candidate: Candidate, judged: Judged, judgement: Judgement) -> RunRecord:
        decision = {"dataset": dataset, "bundle": candidate.bundle_id, **judgement.model_dump(mode="json")}
        in_task("record refusal", record_refusal, self.session.workspace.root, candidate.bundle_id, decision)
        return self._record("refused", judgement.summary, dataset, candidate, judged)

    def _promote(self, dataset: str, candidate: Candidate, judged: Judged, judgement: Judgement) -> tuple[RunRecord, Shipped]:
        evidence = {"trigger": self.trigger["kind"], "run": str(flow_run.id), "dataset": dataset, "bundle": candidate.bundle_id}
        shipped = ship(self.session, candidate, judgement, evidence, in_task)
        proof = {**evidence, "decisions": [decision.model_dump(mode="json") for decision in judgement.decisions]}
        in_task("promote", promote_version, self.session, shipped.version, judgement.summary, proof, judged.champion_version)
        return self._record("promoted", judgement.summary, dataset, candidate, judged, shipped), shipped

    def _record(
        self,
        outcome: Outcome,
        reason: str,
        dataset: str | None = None,
        candidate: Candidate | None = None,
        judged: Judged | None = None,
        shipped: Shipped | None = None,
    ) -> RunRecord:
        facts: dict[str, Any] = judged.as_record() if judged else {}
        seconds = (candidate.seconds if candidate else {}) | (shipped.seconds if shipped else {})
        reports = candidate.reports if candidate else {}
        return RunRecord(
            run=str(flow_run.id),
            project=self.session.config.project,
            trigger=self.trigger["kind"],
            started=self.started,
            finished=datetime.now(UTC),
            outcome=outcome,
            reason=reason,
            dataset=dataset,
            bundle=candidate.bundle_id if candidate else None,
            version=shipped.version if shipped else None,
            n_samples=candidate.n_samples if candidate else None,
            stages_seconds=seconds,
            reports=reports,
            **facts,
        )
