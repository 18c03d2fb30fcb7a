"""Adds samples to the data: labelled feedback of the endpoint, or a folder of new ones.

Only ever adds: files go to `images/feedback/` or `images/ingested/` (sounds to `sounds/…`), named by their content, rows to the end of the
labels table, and texts into these rows.
Content that is there already is not added again, so doing it twice adds nothing; the same picture in another file format is the same
content. Nothing unfinished ever lies in the data folder: whatever is in it is tracked.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from pipelines.config import ProjectConfig
from pipelines.core.errors import DataError, Finding
from pipelines.feedback import NewSample, labelled_samples
from pipelines.input_files import Unusable
from pipelines.known_content import KnownContent, file_size
from pipelines.known_texts import KnownTexts
from pipelines.label_rows import read_label, with_read_labels
from pipelines.labels_append import append_rows
from pipelines.labels_table import LabelRow, LabelsTable, held_by_task, read_labels_table
from pipelines.modalities.inspection import INPUTS, InputFile
from pipelines.modalities.text_inputs import TextInput
from pipelines.quarantine import Unused
from pipelines.sample_source import SourceSample, read_source
from pipelines.shared_groups import NOBODY_SHARES
from pipelines.split_sharing import rows_with_shared_groups
from pipelines.staging import replace_file
from pipelines.text_rows import TEXT_COLUMN, text_bytes
from pipelines.workspace import Workspace

__all__ = ["IngestSummary", "NewSample", "add_samples", "ingest_folder", "known_content", "labelled_samples", "unknown_samples"]

_USABLE = {
    "image": "class folders named like the project's labels, or a table with path and label, and images that decode.",
    "text": "a table with text and label, or class folders named like the project's labels with .txt files, and texts that can be read.",
    "audio": "class folders named like the project's labels, or a table with path and label, and sounds that decode.",
}
FEEDBACK_FOLDER, INGESTED_FOLDER = "feedback", "ingested"
# Half of the digest: with 16 digits somebody could make two inputs with the same name in minutes.
_N_NAME_DIGITS = 32


@dataclass(frozen=True)
class IngestSummary:
    """What became of new samples.

    Attributes:
        n_added: New ones.
        n_known: Whose bytes or picture are in the data already, with the same label.
        findings: What could not be used, and why.
        n_grouped: New ones that look like another sample and were given its group, so that they share its split.
        n_held_out: New ones that look like test samples and like what is learnt from: in `holdout`, which no stage uses.
        unused: The samples among `findings` that have a file below their source, or a text.
    """

    n_added: int
    n_known: int
    findings: tuple[Finding, ...]
    n_grouped: int = 0
    n_held_out: int = 0
    unused: tuple[Unused, ...] = field(default=(), compare=False)


@dataclass(frozen=True)
class _Candidate:
    where: str
    sample: NewSample
    file: Path
    root: Path
    text: str | None = None


@dataclass(frozen=True)
class _Content:
    content: bytes
    found: InputFile


_Known = KnownContent | KnownTexts


def add_samples(data_dir: Path, new: Sequence[NewSample], raw_dir: Path, config: ProjectConfig) -> IngestSummary:
    """Adds labelled feedback.

    Args:
        data_dir: With the labels table.
        new: What `labelled_samples` gave.
        raw_dir: Holds each sample's bytes in a file named by their sha256.
        config: Its `labels`, `labels_per_sample` and `data.labels_table` are used.

    Raises:
        DataError: The labels table cannot be read.
    """
    candidates = [_Candidate(f"raw input {sample.sha256[:_N_NAME_DIGITS]}", sample, raw_dir / sample.sha256, raw_dir) for sample in new]
    return _add(data_dir, candidates, FEEDBACK_FOLDER, config)


def ingest_folder(source: Path, data_dir: Path, config: ProjectConfig, domain: str) -> IngestSummary:
    """Adds the samples of a folder of class folders, of a folder with a labels table, or of a table.

    Args:
        source: See `pipelines.sample_source`.
        data_dir: With the labels table.
        config: Its `labels`, `labels_per_sample`, `data.labels_table` and `data.slices` are used.
        domain: Of the samples for which a table does not state one.

    Raises:
        ConfigurationError: There is nothing at `source`.
        DataError: There is no sample in it, or a table cannot be read.
    """
    content = read_source(source, config.labels_per_sample, config.data.slices, config.task)
    if not content.samples:
        raise DataError(
            got=f"{source} without a usable sample.",
            allowed=_USABLE[config.task],
            next_step="correct what is listed, and run the command again; nothing was added.",
            findings=content.findings,
        )
    texts = config.task == "text"
    candidates = [
        _Candidate(sample.path, _as_new(sample, found, domain), content.root / sample.path, content.root, sample.text if texts else None)
        for sample, found in zip(content.samples, content.inputs, strict=True)
    ]
    summary = _add(data_dir, candidates, INGESTED_FOLDER, config)
    # What cannot be read as a text cannot stand in a table of texts either.
    unread = [
        Unused(item.where, NewSample("", "", domain), item.problem, content.root / item.where, content.root)
        for item in content.findings
        if not texts
    ]
    return replace(summary, findings=(*content.findings, *summary.findings), unused=(*unread, *summary.unused))


def unknown_samples(data_dir: Path, new: Sequence[NewSample], config: ProjectConfig, raw_dir: Path | None = None) -> list[NewSample]:
    """Those of the samples whose content is not in the data yet: neither their bytes nor the picture in them, under whatever label.

    What cannot be read is not among them: no ingestion would ever add it, so it would be new for ever.

    Args:
        data_dir: With the labels table.
        new: What `labelled_samples` gave.
        config: Its `data.labels_table` is used.
        raw_dir: As in `add_samples`; where the workspace of `data_dir` keeps raw inputs, if nothing is said.
    """
    folder = raw_dir or _workspace(data_dir).serving / "raw"
    known = known_content(data_dir, _read_table(data_dir, config).rows, config)
    if isinstance(known, KnownContent):
        known.hash_files()
    inspect = INPUTS[config.task].inspect
    return [sample for sample in new if not known.labels_of_bytes(sample.sha256) and _is_new(folder / sample.sha256, known, inspect)]


def _is_new(file: Path, known: _Known, inspect: Callable[[bytes], InputFile | Unusable]) -> bool:
    found = inspect(file.read_bytes()) if file_size(file) is not None else Unusable("is not there")
    return not isinstance(found, Unusable) and found.id == file.name and not known.labels_of_copies(found)


def _read_table(data_dir: Path, config: ProjectConfig) -> LabelsTable:
    name = config.data.labels_table
    return read_labels_table(data_dir / name, holds=held_by_task(config.task), name=name)


def known_content(data_dir: Path, rows: Sequence[LabelRow], config: ProjectConfig) -> KnownContent | KnownTexts:
    """What rows of a labels table hold, asked by content: files or texts, as the project's task says."""
    return KnownTexts(rows) if config.task == "text" else KnownContent(data_dir, rows, config.task)


def _as_new(sample: SourceSample, found: InputFile, domain: str) -> NewSample:
    return NewSample(found.id, sample.label, sample.domain or domain, sample.arrival, sample.group, sample.split, sample.slices)


def _add(data_dir: Path, candidates: Sequence[_Candidate], folder: str, config: ProjectConfig) -> IngestSummary:
    table_path = data_dir / config.data.labels_table
    with _one_at_a_time(data_dir) as staging:
        table = _read_table(data_dir, config)
        known = known_content(data_dir, with_read_labels(table.rows, config.labels, config.labels_per_sample)[0], config)
        if isinstance(known, KnownContent):
            known.hash_files({size for item in candidates if (size := file_size(item.file)) is not None})
        rows: list[dict[str, str]] = []
        findings: list[Finding] = []
        unused: list[Unused] = []
        for candidate in candidates:
            label, problem = read_label(candidate.sample.label, config.labels, config.labels_per_sample)
            item = replace(candidate, sample=replace(candidate.sample, label=label))
            outcome = Unusable(problem) if problem else _judged(item, known, config.task)
            if isinstance(outcome, Unusable):
                findings.append(Finding(item.where, outcome.problem))
                unused += _unused(item, outcome.problem, config.task)
            elif outcome is not None:
                rows.append(_placed(outcome, f"{INPUTS[config.task].folder}/{folder}", data_dir, staging) | _cells(item.sample))
                known.add(outcome.found, item.sample.label)
        sharing = NOBODY_SHARES
        if config.task == "image":
            keep = _workspace(data_dir).state / "thumbnails.npz"
            rows, sharing = rows_with_shared_groups(data_dir, table.rows, rows, keep, staging, config.split)
        if rows:
            append_rows(table_path, table.columns, rows, staging)
    n_known = len(candidates) - len(rows) - len(findings)
    return IngestSummary(len(rows), n_known, tuple(findings), sharing.n_grouped, sharing.n_held_out, tuple(unused))


def _unused(item: _Candidate, problem: str, task: str) -> list[Unused]:
    """The sample for the quarantine; nothing where it should be a text and is none."""
    text = item.text
    if task == "text" and text is None:
        try:
            text = item.file.read_bytes().decode("utf-8")
        except (OSError, UnicodeDecodeError):
            return []
    return [Unused(item.where, item.sample, problem, item.file, item.root, text)]


def _placed(outcome: _Content, folder: str, data_dir: Path, staging: Path) -> dict[str, str]:
    """Where the sample now is: a new file, or a cell of the table."""
    if isinstance(outcome.found, TextInput):
        return {TEXT_COLUMN: outcome.content.decode("utf-8")}
    path = f"{folder}/{outcome.found.id[:_N_NAME_DIGITS]}{outcome.found.extension}"
    replace_file(data_dir / path, outcome.content, staging)
    return {"path": path}


def _cells(sample: NewSample) -> dict[str, str]:
    stated = {"group": sample.group, "domain": sample.domain, "arrival": sample.arrival, "split": sample.split}
    return {"label": sample.label, **stated, **dict(sample.slices)}


@contextmanager
def _one_at_a_time(data_dir: Path) -> Iterator[Path]:
    """Waits for other processes and gives a folder for unfinished files."""
    # Two processes that read the table, add to it and replace it would lose the rows of one of them.
    from filelock import FileLock

    state = _workspace(data_dir).state
    state.mkdir(parents=True, exist_ok=True)
    with FileLock(state / "ingest.lock"):
        staging = state / "tmp" / "ingest"
        # Whoever was killed left files here; they are nobody's now.
        shutil.rmtree(staging, ignore_errors=True)
        yield staging


def _workspace(data_dir: Path) -> Workspace:
    return Workspace(data_dir.absolute().parent)


def _judged(item: _Candidate, known: _Known, task: str) -> _Content | Unusable | None:
    """The content of a sample that can be added; None for what is known under the same label."""
    label = item.sample.label
    same_bytes = known.labels_of_bytes(item.sample.sha256)
    if same_bytes:
        return _conflict(label, same_bytes, "content")
    content = _read(item, INPUTS[task].inspect)
    if isinstance(content, Unusable):
        return content
    # A copy in another file format is not added either: without its twin's group it could end up in another split.
    copies = known.labels_of_copies(content.found)
    return _conflict(label, copies, INPUTS[task].noun) if copies else content


def _conflict(label: str, known_as: set[str], what: str) -> Unusable | None:
    others = sorted(known_as - {label})
    return Unusable(f"labelled {label!r}, but the same {what} is known as {', '.join(map(repr, others))}") if others else None


def _read(item: _Candidate, inspect: Callable[[bytes], InputFile | Unusable]) -> _Content | Unusable:
    try:
        content = item.file.read_bytes() if item.text is None else text_bytes(item.text)
    except OSError as error:
        return Unusable(f"its bytes cannot be read ({error.strerror})")
    if hashlib.sha256(content).hexdigest() != item.sample.sha256:
        return Unusable("its bytes are not those that its name states")
    found = inspect(content)
    return found if isinstance(found, Unusable) else _Content(content, found)
