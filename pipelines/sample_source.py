"""Reads labelled samples that a user names: a folder of class folders, or a labels table.

FOLDER/ants/1.jpg                 the label is the first folder's name
FOLDER/train/ants/1.jpg           first-level folders that are all named like splits are splits; the label comes second
FOLDER/labels.csv, TABLE.csv      a table with path and label; paths are relative to the table's folder

Texts: .txt files in class folders, or a table (.csv, .tsv, .parquet, .jsonl) with text and label. Sounds: as images.

Where a sample has any number of labels, a table's cell or a folder's name may hold several, with | between them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from pipelines.core.errors import ConfigurationError, Finding
from pipelines.core.label_sets import LabelsPerSample, members_of, set_text
from pipelines.core.preprocess import IMAGE_FORMATS
from pipelines.image_files import IMAGE_SUFFIXES
from pipelines.input_files import Unusable, inspect_files, normal_path
from pipelines.label_rows import has_control_character, set_problem, split_problems, usable_rows
from pipelines.labels_table import LabelsTable, read_labels_table
from pipelines.modalities.audio_inputs import AUDIO_SUFFIXES
from pipelines.modalities.inspection import INPUTS, InputFile
from pipelines.modalities.text_inputs import inspect_text
from pipelines.text_rows import text_bytes
from pipelines.text_tables import TEXT_TABLE_SUFFIXES, read_text_table

SPLIT_FOLDERS: dict[str, str] = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}
TABLES_IN_FOLDER: Mapping[str, tuple[str, ...]] = {
    "image": ("labels.csv", "labels.parquet"),
    "text": tuple(f"labels{suffix}" for suffix in TEXT_TABLE_SUFFIXES),
    "audio": ("labels.csv", "labels.parquet"),
}
_ARCHIVE_LEFTOVERS = ("__MACOSX",)
_ONE = {"image": "an image", "text": "a .txt file", "audio": "a sound file"}
_ALLOWED = {
    "image": "a folder of class folders with images, or a CSV or Parquet table with the columns path and label.",
    "text": "a table (.csv, .tsv, .parquet, .jsonl) with the columns text and label, or a folder of class folders with .txt files.",
    "audio": "a folder of class folders with WAV, FLAC or OGG files, or a CSV or Parquet table with the columns path and label.",
}


@dataclass(frozen=True)
class SourceSample:
    """A sample as its source states it; empty where it says nothing.

    Attributes:
        path: Relative to the source's root, with forward slashes.
        label: A set of labels is in its one form, in the order of the source's classes.
        text: The sample itself, where samples are texts.
        slices: Name and cell of each further column that was asked for and that the source's table has.
    """

    path: str
    label: str
    group: str = ""
    domain: str = ""
    arrival: str = ""
    split: str = ""
    slices: tuple[tuple[str, str], ...] = ()
    text: str = ""


@dataclass(frozen=True)
class SampleSource:
    """What a source holds.

    Attributes:
        root: The folder that paths are relative to.
        samples: Readable samples, sorted by path (a folder) or in the table's order.
        inputs: What was found out of each of `samples`.
        classes: Labels, sorted; class folders without a sample included.
        split_folders: Names of the first-level folders, if they are splits.
        ignored: Files and folders that are no samples.
        findings: What is wrong with the rest: all of it.
    """

    root: Path
    samples: tuple[SourceSample, ...]
    inputs: tuple[InputFile, ...]
    classes: tuple[str, ...]
    split_folders: tuple[str, ...]
    ignored: tuple[str, ...]
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class _Listing:
    samples: list[SourceSample]
    classes: list[str]
    split_folders: list[str]
    ignored: list[str]
    findings: list[Finding]


def read_source(source: Path, labels_per_sample: LabelsPerSample = "one", slices: Sequence[str] = (), task: str = "image") -> SampleSource:
    """Reads a source and looks into each of its samples once.

    Args:
        source: A folder or a table.
        labels_per_sample: `many`: labels are sets; an empty one is a set, too.
        slices: Further columns of a table to carry, where it has them.
        task: What samples are.

    Raises:
        ConfigurationError: There is nothing at `source`.
        DataError: It is a table that cannot be read as one.
    """
    if not source.exists():
        raise ConfigurationError(
            got=f"no folder or table at {source}.",
            allowed=_ALLOWED[task],
            next_step="correct the path.",
        )
    table = source if source.is_file() else next((source / name for name in TABLES_IN_FOLDER[task] if (source / name).is_file()), None)
    root = source if table is None else table.parent
    listing = _list_folder(root, task) if table is None else _list_table(table, labels_per_sample, slices, task)
    if task == "text" and table is None:
        listing = _with_texts(listing, root)
    if labels_per_sample == "many":
        listing = _with_sets(listing)
    files = _inspected(root, listing.samples, task)
    pairs = list(zip(listing.samples, files, strict=True))
    broken = [Finding(sample.path, file.problem) for sample, file in pairs if isinstance(file, Unusable)]
    return SampleSource(
        root=root,
        samples=tuple(sample for sample, file in pairs if not isinstance(file, Unusable)),
        inputs=tuple(file for file in files if not isinstance(file, Unusable)),
        classes=tuple(sorted(listing.classes)),
        split_folders=tuple(listing.split_folders),
        ignored=tuple(listing.ignored),
        findings=(*listing.findings, *broken),
    )


def _inspected(root: Path, samples: Sequence[SourceSample], task: str) -> list[InputFile | Unusable]:
    if task == "text":
        return [inspect_text(text_bytes(sample.text)) for sample in samples]
    return inspect_files(root, [sample.path for sample in samples], INPUTS[task].inspect, links_may_leave=True)


def _with_texts(listing: _Listing, root: Path) -> _Listing:
    """The samples with the content of their files; one that is no UTF-8 is a finding."""
    samples: list[SourceSample] = []
    findings = list(listing.findings)
    for sample in listing.samples:
        try:
            samples.append(replace(sample, text=(root / sample.path).read_bytes().decode("utf-8")))
        except (OSError, UnicodeDecodeError) as error:
            reason = f"byte {error.start} is not UTF-8" if isinstance(error, UnicodeDecodeError) else f"cannot be read ({error.strerror})"
            findings.append(Finding(sample.path, reason))
    return replace(listing, samples=samples, findings=findings)


def _with_sets(listing: _Listing) -> _Listing:
    """The classes are the names in all sets; a sample whose set cannot be read is a finding."""
    problems = {text: set_problem(text) for text in {*listing.classes, *(sample.label for sample in listing.samples)}}
    classes = sorted({name for text, problem in problems.items() if not problem for name in members_of(text)})
    samples = [
        replace(sample, label=set_text(members_of(sample.label), classes)) for sample in listing.samples if not problems[sample.label]
    ]
    wrong = [Finding(sample.path, problems[sample.label]) for sample in listing.samples if problems[sample.label]]
    return _Listing(samples, classes, listing.split_folders, listing.ignored, [*listing.findings, *wrong])


def _read_table(table: Path, labels_per_sample: LabelsPerSample, slices: Sequence[str], task: str) -> LabelsTable:
    return read_text_table(table, slices, labels_per_sample) if task == "text" else read_labels_table(table, slices)


def _list_table(table: Path, labels_per_sample: LabelsPerSample, slices: Sequence[str], task: str) -> _Listing:
    content = _read_table(table, labels_per_sample, slices, task)
    rows, problems = usable_rows(content.rows)
    problems += split_problems(rows)
    findings = [*content.findings, *(Finding(problem.where, problem.problem) for problem in problems)]
    labelled = [row for row in rows if row.label or labels_per_sample == "many"]
    findings += [Finding(row.where, "the label is empty") for row in rows if not row.label and labels_per_sample == "one"]
    samples = [
        SourceSample(normal_path(row.path), row.label, row.group, row.domain, row.arrival, row.split, row.slices, row.text)
        for row in labelled
    ]
    ignored = [f"the column {column!r} of {table.name}" for column in content.unknown_columns]
    return _Listing(samples, sorted({row.label for row in labelled}), [], ignored, findings)


def _list_folder(root: Path, task: str) -> _Listing:
    listing = _Listing([], [], [], [], [])
    folders = _folders(root, root, listing)
    names = {folder.name for folder in folders}
    class_folders: list[tuple[str, Path]]
    if names and names <= SPLIT_FOLDERS.keys():
        listing.split_folders.extend(sorted(names))
        # One folder alone splits nothing.
        splits = SPLIT_FOLDERS if len({SPLIT_FOLDERS[name] for name in names}) > 1 else dict.fromkeys(names, "")
        class_folders = [(splits[folder.name], inner) for folder in folders for inner in _folders(root, folder, listing)]
    else:
        class_folders = [("", folder) for folder in folders]
    if not class_folders:
        listing.findings.append(Finding(_shown(root.name), f"has no class folders: one folder for each label, with its {task}s"))
    for split, folder in class_folders:
        _list_class(root, folder, split, listing, task)
    listing.classes.extend({folder.name for _, folder in class_folders})
    return listing


def _folders(root: Path, parent: Path, listing: _Listing) -> list[Path]:
    entries = sorted(parent.iterdir())
    folders = [entry for entry in entries if entry.is_dir() and not _is_leftover(entry.name)]
    listing.ignored.extend(_relative(root, entry) for entry in entries if entry not in folders)
    return folders


def _list_class(root: Path, folder: Path, split: str, listing: _Listing, task: str) -> None:
    n_files = 0
    for file in _files(root, folder, listing):
        path = _relative(root, file)
        if not _IS_INPUT[task](file):
            listing.ignored.append(path)
            continue
        n_files += 1
        fault = _name_fault(file.relative_to(root).as_posix())
        if fault:
            listing.findings.append(Finding(path, fault))
        else:
            listing.samples.append(SourceSample(path, folder.name, split=split))
    if not n_files:
        listing.findings.append(Finding(_relative(root, folder), f"is a class folder without {_ONE[task]}"))


def _files(root: Path, folder: Path, listing: _Listing) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        links = [name for name in folders if (Path(place) / name).is_symlink()]
        listing.ignored.extend(_relative(root, Path(place) / name) for name in sorted(links))
        folders.sort()
        yield from (Path(place) / name for name in sorted(names))


def _is_leftover(name: str) -> bool:
    return name.startswith(".") or name in _ARCHIVE_LEFTOVERS


def _is_image(file: Path) -> bool:
    if _is_leftover(file.name):
        return False
    return file.suffix.lower() in IMAGE_SUFFIXES or _has_image_header(file)


def _is_text(file: Path) -> bool:
    return not _is_leftover(file.name) and file.suffix.lower() == ".txt"


def _is_sound(file: Path) -> bool:
    return not _is_leftover(file.name) and file.suffix.lower() in AUDIO_SUFFIXES


_IS_INPUT: Mapping[str, Callable[[Path], bool]] = {"image": _is_image, "text": _is_text, "audio": _is_sound}


def _has_image_header(file: Path) -> bool:
    try:
        with Image.open(file, formats=IMAGE_FORMATS):
            return True
    # The name promises no image, so whatever a decoder dislikes about the content only means that it is none.
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError):
        return False


def _name_fault(path: str) -> str:
    try:
        path.encode()
    except UnicodeEncodeError:
        return "the name is not valid UTF-8; rename the file"
    return "the name holds a control character; rename the file" if has_control_character(path) else ""


def _relative(root: Path, path: Path) -> str:
    return _shown(path.relative_to(root).as_posix())


def _shown(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()


def count_by_label(samples: Sequence[SourceSample], classes: Sequence[str], labels_per_sample: LabelsPerSample = "one") -> dict[str, int]:
    """Samples of each class, in the order of `classes`; where labels are sets, samples that have it."""
    counts = dict.fromkeys(classes, 0)
    for sample in samples:
        for name in [sample.label] if labels_per_sample == "one" else members_of(sample.label):
            counts[name] += 1
    return counts
