"""Labelled samples become a new dataset version: from the endpoint's feedback, or from a folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.promotion import champion_bundle
from flows.records import read_records
from flows.session import Session
from pipelines.core.errors import Finding, RegraftError

if TYPE_CHECKING:
    from pipelines.ingest import IngestSummary, NewSample

QUARANTINE = "quarantine"


@dataclass(frozen=True)
class Ingested:
    """What was added to the data.

    Attributes:
        n_added: New samples.
        n_known: Samples that were there already.
        findings: Labels that could not be used, with the reason.
        dataset: Digest of the dataset version now in use.
        n_grouped: New samples that look like others and were given their group, so that they share a split.
        n_held_out: New samples that look like test samples and like what is learnt from, in `holdout`.
        quarantine: Folder with what could not be used and has a file, to be corrected and ingested; None where there is nothing.
    """

    n_added: int
    n_known: int
    findings: tuple[Finding, ...]
    dataset: str
    n_grouped: int = 0
    n_held_out: int = 0
    quarantine: Path | None = None

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        findings = [{"where": finding.where, "problem": finding.problem} for finding in self.findings]
        counts = {"added": self.n_added, "known": self.n_known, "grouped": self.n_grouped, "held_out": self.n_held_out}
        return {**counts, "dataset": self.dataset, "findings": findings, "quarantine": str(self.quarantine) if self.quarantine else None}

    def as_text(self) -> str:
        """For people."""
        from pipelines.shared_groups import said_of_sharing

        rows = "".join(f"\n  {finding.where}: {finding.problem}" for finding in self.findings)
        text = f"{self.n_added} samples added, {self.n_known} known already, {len(self.findings)} not usable{rows}"
        if self.quarantine:
            text += f"\nnot usable: {self.quarantine}; correct its labels.csv, then `regraft ingest {self.quarantine}`"
        text += "".join(f"\n{sentence}" for sentence in said_of_sharing(self.n_grouped, self.n_held_out))
        return f"{text}\ndataset {self.dataset}"


@dataclass(frozen=True)
class NewLabels:
    """Labelled samples that nothing has learned from.

    Attributes:
        n_waiting: In the feedback still.
        n_in_data: In the data since the last judgement.
    """

    n_waiting: int
    n_in_data: int

    @property
    def n(self) -> int:
        """Both."""
        return self.n_waiting + self.n_in_data


def count_new_labels(session: Session, run: str = "") -> NewLabels:
    """Labelled samples that nothing has learned from: those in the data since the last judgement, and those in the feedback still.

    Counted from the data, not from the last ingestion: a run that was killed between ingestion and training loses no label.

    Args:
        session: Of the workspace.
        run: Whose own judgement does not count: it is being carried on.
    """
    from pipelines.labels_table import held_by_task, read_labels_table
    from pipelines.versioning.registry import champion

    record = champion(session.workspace.root, session.config.project)
    waiting = count_waiting_samples(session)
    if record is None:
        return NewLabels(waiting, 0)
    lineage = json.loads((champion_bundle(session, record) / "lineage.json").read_bytes())
    records = read_records(session.workspace, session.config.project)
    judged = [item.n_samples for item in records if item.n_samples is not None and item.run != run]
    # Labels that a refused candidate learned from are no news either: else one more label would buy another look at the test set.
    learned = max([int(lineage["n_samples"]), *judged[-1:]])
    config = session.config
    in_data = len(read_labels_table(session.workspace.data / config.data.labels_table, holds=held_by_task(config.task)).rows)
    return NewLabels(waiting, max(0, in_data - learned))


def ingest_feedback(session: Session) -> Ingested:
    """Joins feedback with the request log and adds the samples whose raw bytes were kept."""
    from pipelines.ingest import add_samples

    samples, findings = _new_samples(session)
    with finished_later(session):
        summary = add_samples(session.workspace.data, samples, session.workspace.serving / "raw", session.config)
        summary = replace(summary, findings=(*findings, *summary.findings))
        return _commit(session, summary, f"{summary.n_added} labelled requests")


def ingest_source(session: Session, source: Path, domain: str) -> Ingested:
    """Adds the samples of a folder of class folders or of a table; a quarantine that was ingested is set aside."""
    from pipelines.ingest import ingest_folder
    from pipelines.quarantine import set_aside

    with finished_later(session):
        summary = ingest_folder(source, session.workspace.data, session.config, domain)
        ingested = _commit(session, summary, f"{summary.n_added} samples of {source.name}")
    set_aside(source, session.workspace.state / QUARANTINE, ingested.quarantine)
    return ingested


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
    """Commits the samples that a killed ingestion had added, each of which a table names; does nothing where none was killed."""
    from pipelines.unlabelled import remove_unnamed
    from pipelines.versioning.dataset import commit_dataset

    mark = session.workspace.state / "ingesting"
    if mark.exists():
        remove_unnamed(session.workspace.data)
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


def _commit(session: Session, summary: IngestSummary, message: str) -> Ingested:
    from pipelines.quarantine import keep_unused
    from pipelines.versioning.dataset import commit_dataset, dataset_version

    root = session.workspace.root
    quarantine = keep_unused(summary.unused, session.workspace.state / QUARANTINE)
    version = commit_dataset(root, message) if summary.n_added else dataset_version(root)
    sharing = summary.n_grouped, summary.n_held_out
    return Ingested(summary.n_added, summary.n_known, summary.findings, version.digest, *sharing, quarantine)


def count_waiting_samples(session: Session) -> int:
    """Labelled requests that an ingestion would add."""
    from pipelines.ingest import unknown_samples

    return len(unknown_samples(session.workspace.data, _new_samples(session)[0], session.config))


def _new_samples(session: Session) -> tuple[list[NewSample], list[Finding]]:
    from pipelines.core.request_log import read_requests
    from pipelines.ingest import labelled_samples
    from pipelines.label_queue import read_labels

    log = session.workspace.serving / "log"
    config = session.config
    samples, findings = labelled_samples(read_requests(log), read_labels(log), config.labels, config.labels_per_sample)
    # The log's order is the clients' luck; the dataset version must not depend on it.
    return sorted(samples, key=lambda sample: sample.sha256), findings
