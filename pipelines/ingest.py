"""Adds samples to the data: labelled feedback of the endpoint, or a folder of new ones.

Only ever adds: files go to `images/feedback/` or `images/ingested/`, named by their content, rows to the end of the labels table.
Content that is there already is not added again, so doing it twice adds nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipelines.config import ProjectConfig
from pipelines.core.bundle import file_sha256
from pipelines.core.errors import DataError, Finding
from pipelines.feedback import NewSample, labelled_samples
from pipelines.image_files import ImageFile, Unusable, inspect_bytes
from pipelines.label_rows import label_problem
from pipelines.labels_append import append_rows
from pipelines.labels_table import LabelsTable, read_labels_table
from pipelines.sample_source import SourceSample, read_source
from pipelines.workspace import Workspace

__all__ = ["IngestSummary", "NewSample", "add_samples", "ingest_folder", "labelled_samples", "unknown_samples"]

FEEDBACK_FOLDER, INGESTED_FOLDER = "images/feedback", "images/ingested"
# Half of the digest: with 16 digits somebody could make two inputs with the same name in minutes.
_N_NAME_DIGITS = 32


@dataclass(frozen=True)
class IngestSummary:
    """What became of new samples.

    Attributes:
        n_added: New ones.
        n_known: Whose content is in the data already, with the same label.
        findings: What could not be used, and why.
    """

    n_added: int
    n_known: int
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class _Candidate:
    where: str
    sample: NewSample
    file: Path


def add_samples(data_dir: Path, new: Sequence[NewSample], raw_dir: Path, config: ProjectConfig) -> IngestSummary:
    """Adds labelled feedback.

    Args:
        data_dir: With the labels table.
        new: What `labelled_samples` gave.
        raw_dir: Holds each sample's bytes in a file named by their sha256.
        config: Its `labels` and `data.labels_table` are used.

    Raises:
        DataError: The labels table cannot be read.
    """
    candidates = [_Candidate(f"raw input {sample.sha256[:_N_NAME_DIGITS]}", sample, raw_dir / sample.sha256) for sample in new]
    return _add(data_dir, candidates, FEEDBACK_FOLDER, config)


def ingest_folder(source: Path, data_dir: Path, config: ProjectConfig, domain: str) -> IngestSummary:
    """Adds the samples of a folder of class folders, of a folder with a labels table, or of a table.

    Args:
        source: See `pipelines.sample_source`.
        data_dir: With the labels table.
        config: Its `labels` and `data.labels_table` are used.
        domain: Of the samples for which a table does not state one.

    Raises:
        ConfigurationError: There is nothing at `source`.
        DataError: There is no sample in it, or a table cannot be read.
    """
    content = read_source(source)
    if not content.samples:
        raise DataError(
            got=f"{source} without a usable sample.",
            allowed="class folders named like the project's labels, or a table with path and label, and images that decode.",
            next_step="correct what is listed, and run the command again; nothing was added.",
            findings=content.findings,
        )
    pairs = zip(content.samples, content.images, strict=True)
    candidates = [_Candidate(sample.path, _as_new(sample, image, domain), content.root / sample.path) for sample, image in pairs]
    summary = _add(data_dir, candidates, INGESTED_FOLDER, config)
    return IngestSummary(summary.n_added, summary.n_known, (*content.findings, *summary.findings))


def unknown_samples(data_dir: Path, new: Sequence[NewSample], config: ProjectConfig) -> list[NewSample]:
    """Those of the samples whose content is not in the data yet."""
    known = _known_labels(data_dir, read_labels_table(data_dir / config.data.labels_table), None)
    return [sample for sample in new if sample.sha256 not in known]


def _as_new(sample: SourceSample, image: ImageFile, domain: str) -> NewSample:
    return NewSample(image.id, sample.label, sample.domain or domain, sample.arrival, sample.group, sample.split)


def _add(data_dir: Path, candidates: Sequence[_Candidate], folder: str, config: ProjectConfig) -> IngestSummary:
    table_path = data_dir / config.data.labels_table
    with _one_at_a_time(data_dir):
        table = read_labels_table(table_path)
        known = _known_labels(data_dir, table, {size for item in candidates if (size := _size(item.file)) is not None})
        rows: list[dict[str, str]] = []
        findings: list[Finding] = []
        n_known = 0
        for item in candidates:
            problem = _conflict(item.sample, config.labels, known)
            if not problem and item.sample.sha256 in known:
                n_known += 1
                continue
            stored = Unusable(problem) if problem else _store(data_dir, folder, item)
            if isinstance(stored, Unusable):
                findings.append(Finding(item.where, stored.problem))
            else:
                known[item.sample.sha256] = {item.sample.label}
                rows.append(_row(stored, item.sample))
        if rows:
            append_rows(table_path, table.columns, rows)
    return IngestSummary(len(rows), n_known, tuple(findings))


def _row(path: str, sample: NewSample) -> dict[str, str]:
    stated = {"group": sample.group, "domain": sample.domain, "arrival": sample.arrival, "split": sample.split}
    return {"path": path, "label": sample.label, **stated}


@contextmanager
def _one_at_a_time(data_dir: Path) -> Iterator[None]:
    # Two processes that read the table, add to it and replace it would lose the rows of one of them.
    from filelock import FileLock

    state = Workspace(data_dir.absolute().parent).state
    state.mkdir(parents=True, exist_ok=True)
    with FileLock(state / "ingest.lock"):
        yield


def _known_labels(data_dir: Path, table: LabelsTable, sizes: set[int] | None) -> dict[str, set[str]]:
    """Labels by content for the files of the table; only for files of one of the sizes where some are given: no other can be equal."""
    known: dict[str, set[str]] = {}
    for row in table.rows:
        size = _size(data_dir / row.path)
        if size is not None and (sizes is None or size in sizes):
            known.setdefault(file_sha256(data_dir / row.path), set()).add(row.label)
    return known


def _size(file: Path) -> int | None:
    try:
        return file.stat().st_size if file.is_file() else None
    # What the table names may be no path at all; validation says so.
    except (OSError, ValueError):
        return None


def _conflict(sample: NewSample, labels: Sequence[str], known: dict[str, set[str]]) -> str:
    if sample.label not in labels:
        return label_problem(sample.label, labels)
    others = sorted(known.get(sample.sha256, set()) - {sample.label})
    return f"labelled {sample.label!r}, but the same content is known as {', '.join(map(repr, others))}" if others else ""


def _store(data_dir: Path, folder: str, item: _Candidate) -> str | Unusable:
    """Writes a sample's file and returns its path relative to the data; the content decides name and extension."""
    try:
        content = item.file.read_bytes()
    except OSError as error:
        return Unusable(f"its bytes cannot be read ({error.strerror})")
    if hashlib.sha256(content).hexdigest() != item.sample.sha256:
        return Unusable("its bytes are not those that its name states")
    image = inspect_bytes(content)
    if isinstance(image, Unusable):
        return image
    path = f"{folder}/{image.id[:_N_NAME_DIGITS]}{image.extension}"
    _write_whole(data_dir / path, content)
    return path


def _write_whole(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    staging = file.with_name(f".{file.name}.new")
    staging.write_bytes(content)
    staging.replace(file)
