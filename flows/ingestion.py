"""Labelled samples become a new dataset version: from the endpoint's feedback, or from a folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.promotion import champion_bundle
from flows.records import read_records
from flows.session import Session
from pipelines.core.errors import Finding, RegraftError

if TYPE_CHECKING:
    from pipelines.ingest import NewSample


@dataclass(frozen=True)
class Ingested:
    """What was added to the data.

    Attributes:
        n_added: New samples.
        n_known: Samples that were there already.
        findings: Labels that could not be used, with the reason.
        dataset: Digest of the dataset version now in use.
    """

    n_added: int
    n_known: int
    findings: tuple[Finding, ...]
    dataset: str

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        findings = [{"where": finding.where, "problem": finding.problem} for finding in self.findings]
        return {"added": self.n_added, "known": self.n_known, "dataset": self.dataset, "findings": findings}

    def as_text(self) -> str:
        """For people."""
        rows = "".join(f"\n  {finding.where}: {finding.problem}" for finding in self.findings)
        return f"{self.n_added} samples added, {self.n_known} known already, {len(self.findings)} not usable{rows}\ndataset {self.dataset}"


@dataclass(frozen=True)
class Lesson:
    """Whether drift gives something to learn from, and why."""

    start: bool
    reason: str


def learn_from_feedback(session: Session, trigger: dict[str, Any]) -> Lesson:
    """Drift alone never retrains: adds the labelled feedback to the data if there is enough of it.

    Args:
        session: Of the workspace.
        trigger: Of the flow; `evidence` holds the verdict that began it.
    """
    from monitoring.policy import decide_retraining
    from monitoring.verdict import Verdict
    from pipelines.versioning.dataset import dataset_version

    finish_interrupted_ingestion(session)
    waiting = bool(_waiting_samples(session))
    finished = [
        record for record in read_records(session.workspace) if record.outcome in ("promoted", "refused") and record.trigger == "drift"
    ]
    decision = decide_retraining(
        Verdict.model_validate(trigger["evidence"]["verdict"]),
        n_new_labels=count_new_labels(session),
        last_retraining_at=finished[-1].started if finished else None,
        running=False,  # this run holds the workspace's lock
        refused_digests={record.dataset for record in finished if record.outcome == "refused" and record.dataset},
        now=datetime.now(UTC),
        config=session.config.trigger,
        # Feedback that waits makes other data of it; what they will be is not known before they are put together.
        data_digest=None if waiting else dataset_version(session.workspace.root).digest,
    )
    if decision.start:
        ingest_feedback(session)
    return Lesson(decision.start, decision.reason)


def count_new_labels(session: Session) -> int:
    """Labelled samples that nothing has learned from: those in the data since the last judgement, and those in the feedback still.

    Counted from the data, not from the last ingestion: a run that was killed between ingestion and training loses no label.
    """
    from pipelines.labels_table import held_by_task, read_labels_table
    from pipelines.versioning.registry import champion

    record = champion(session.workspace.root, session.config.project)
    waiting = len(_waiting_samples(session))
    if record is None:
        return waiting
    lineage = json.loads((champion_bundle(session, record) / "lineage.json").read_bytes())
    judged = [run.n_samples for run in read_records(session.workspace) if run.n_samples is not None]
    # Labels that a refused candidate learned from are no news either: else one more label would buy another look at the test set.
    learned = max([int(lineage["n_samples"]), *judged[-1:]])
    config = session.config
    in_data = len(read_labels_table(session.workspace.data / config.data.labels_table, holds=held_by_task(config.task)).rows)
    return waiting + max(0, in_data - learned)


def ingest_feedback(session: Session) -> Ingested:
    """Joins feedback with the request log and adds the samples whose raw bytes were kept."""
    from pipelines.ingest import add_samples

    samples, findings = _new_samples(session)
    with finished_later(session):
        summary = add_samples(session.workspace.data, samples, session.workspace.serving / "raw", session.config)
        return _commit(session, summary.n_added, summary.n_known, (*findings, *summary.findings), f"{summary.n_added} labelled requests")


def ingest_source(session: Session, source: Path, domain: str) -> Ingested:
    """Adds the samples of a folder of class folders or of a table."""
    from pipelines.ingest import ingest_folder

    with finished_later(session):
        summary = ingest_folder(source, session.workspace.data, session.config, domain)
        return _commit(session, summary.n_added, summary.n_known, tuple(summary.findings), f"{summary.n_added} samples of {source.name}")


@contextmanager
def finished_later(session: Session) -> Iterator[None]:
    """A process that is killed between changing the data and committing them leaves its mark; the next run commits what it finds."""
    mark = session.workspace.state / "ingesting"
    finish_interrupted_ingestion(session)
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.touch()
    try:
        yield
    except RegraftError:
        # Nothing was added, or it was added and can be committed: the mark stays where data/ is not what data.dvc names.
        if _is_committed(session):
            mark.unlink()
        raise
    mark.unlink()


def finish_interrupted_ingestion(session: Session) -> None:
    """Commits the samples that a killed ingestion had added; does nothing where none was killed."""
    from pipelines.versioning.dataset import commit_dataset

    mark = session.workspace.state / "ingesting"
    if mark.exists():
        if not _is_committed(session):
            commit_dataset(session.workspace.root, "Finish an ingestion that was interrupted")
        mark.unlink()


def _is_committed(session: Session) -> bool:
    from pipelines.versioning.dataset import dataset_version

    try:
        dataset_version(session.workspace.root)
    except RegraftError:
        return False
    return True


def _commit(session: Session, n_added: int, n_known: int, findings: tuple[Finding, ...], message: str) -> Ingested:
    from pipelines.versioning.dataset import commit_dataset, dataset_version

    root = session.workspace.root
    version = commit_dataset(root, message) if n_added else dataset_version(root)
    return Ingested(n_added, n_known, findings, version.digest)


def _waiting_samples(session: Session) -> list[NewSample]:
    from pipelines.ingest import unknown_samples

    return unknown_samples(session.workspace.data, _new_samples(session)[0], session.config)


def _new_samples(session: Session) -> tuple[list[NewSample], list[Finding]]:
    from pipelines.core.request_log import read_feedback, read_requests
    from pipelines.ingest import labelled_samples

    log = session.workspace.serving / "log"
    config = session.config
    samples, findings = labelled_samples(read_requests(log), read_feedback(log), config.labels, config.labels_per_sample)
    # The log's order is the clients' luck; the dataset version must not depend on it.
    return sorted(samples, key=lambda sample: sample.sha256), findings
