"""Makes the first dataset of a workspace from samples that a team has already: copies them, never links, and writes `labels.csv`."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pandas as pd

from pipelines.config import SplitSection
from pipelines.core.errors import ConfigurationError, DataError, Finding
from pipelines.core.label_sets import SEPARATOR, LabelsPerSample
from pipelines.image_files import ImageFile
from pipelines.labels_append import csv_line
from pipelines.labels_table import OPTIONAL_COLUMNS, REQUIRED_COLUMNS
from pipelines.modalities.inspection import InputFile, content_digest
from pipelines.sample_source import SPLIT_FOLDERS, SampleSource, SourceSample, count_by_label, read_source
from pipelines.shared_groups import NOBODY_SHARES, said_of_sharing
from pipelines.split import unit_hash
from pipelines.split_sharing import samples_with_shared_groups
from pipelines.staging import is_vacant, staged_folder
from pipelines.text_rows import TEXT_COLUMN

LABELS_TABLE = "labels.csv"
_VALIDATION_SALT = "import-validation"
_USABLE = {
    "image": "images that decode: class folders, or a table with path and label",
    "text": "texts that can be read: a table with text and label, or class folders with .txt files",
    "audio": "sounds that decode: class folders, or a table with path and label",
}
_HASHED = {"image": "pixels", "text": "text", "audio": "sound"}


@dataclass(frozen=True)
class ImportSummary:
    """What was imported.

    Attributes:
        labels: Sorted.
        n_samples: By label, in the same order; where a sample has any number of labels it counts for each of them.
        ignored: Files, folders and columns of the source that are no samples.
        fixed_splits: Whether `labels.csv` states the splits, because the source does.
        notes: What was decided for the team, as sentences.
        n_all: Samples.
        n_grouped: Samples that look like another one and were given a common group, so that they share its split.
    """

    labels: tuple[str, ...]
    n_samples: Mapping[str, int]
    ignored: tuple[str, ...]
    fixed_splits: bool
    notes: tuple[str, ...]
    n_all: int
    n_grouped: int = 0


def import_samples(source: Path, target_data: Path, labels_per_sample: LabelsPerSample = "one", task: str = "image") -> ImportSummary:
    """Copies the samples of `source` to `target_data` and writes their labels table; all or nothing.

    Files keep their names and folders; texts go into the table. Folders named like splits fix the splits. Where they have no test folder,
    the validation folder is the test split; where no validation is left, a fifth of train becomes validation, chosen by a hash of the
    content. Where the source states neither group nor split, images that look alike get a common group.

    Args:
        source: A folder of class folders, a folder with a labels table, or a table (see `pipelines.sample_source`).
        target_data: Must not exist, or be empty.
        labels_per_sample: `many`: labels are sets, names with | between them; the classes are the names in all of them.
        task: What samples are.

    Raises:
        ConfigurationError: There is no `source`, or `target_data` is taken.
        DataError: Anything is wrong with a sample, or there are fewer than two classes: all faults are listed.
    """
    if not is_vacant(target_data):
        raise ConfigurationError(
            got=f"the folder {target_data}, which is there and not empty.",
            allowed="a folder that does not exist yet, or an empty one.",
            next_step="choose another folder, or add samples to a workspace with `regraft ingest`.",
        )
    content = read_source(source, labels_per_sample, task=task)
    samples, notes, split_faults = _fixed_splits(content, task)
    _refuse_faults(source, content, split_faults, task)
    sharing = NOBODY_SHARES
    with staged_folder(target_data) as staging:
        if task == "text":
            _write_texts(samples, staging / LABELS_TABLE)
        else:
            placed = samples
            if task == "image":
                placed, sharing = samples_with_shared_groups(content.root, samples, _images_of(content.inputs), SplitSection())
            _copy_files(placed, content.root, staging)
            _write_labels(placed, staging / LABELS_TABLE)
    return ImportSummary(
        labels=content.classes,
        n_samples=count_by_label(samples, content.classes, labels_per_sample),
        ignored=content.ignored,
        fixed_splits=any(sample.split for sample in samples),
        notes=(*notes, *_about_separators(content.classes), *said_of_sharing(sharing.n_grouped, sharing.n_held_out)),
        n_all=len(samples),
        n_grouped=sharing.n_grouped,
    )


def _images_of(inputs: Sequence[InputFile]) -> list[ImageFile]:
    return [found for found in inputs if isinstance(found, ImageFile)]


def _copy_files(samples: Sequence[SourceSample], root: Path, staging: Path) -> None:
    for sample in samples:
        (staging / sample.path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / sample.path, staging / sample.path)


def _about_separators(classes: Sequence[str]) -> list[str]:
    # Where labels are sets, no class holds one.
    n_held = sum(SEPARATOR in label for label in classes)
    return [f"{n_held} labels hold a {SEPARATOR}: each is taken as one label, as samples have one label here"] if n_held else []


def _refuse_faults(source: Path, content: SampleSource, split_faults: Sequence[Finding], task: str) -> None:
    findings = [*content.findings, *split_faults]
    if not content.classes and not findings:
        findings.append(Finding(source.name, "has no label at all"))
    if len(content.classes) == 1:
        findings.append(Finding(source.name, f"has one class only, {content.classes[0]!r}: there is nothing to tell apart"))
    if findings:
        raise DataError(
            got=f"{source} with {len(findings)} {'fault' if len(findings) == 1 else 'faults'}.",
            allowed=f"at least two classes, each with {_USABLE[task]}.",
            next_step="correct or remove what is listed, and run the command again; nothing was copied.",
            findings=findings,
        )


def _fixed_splits(content: SampleSource, task: str) -> tuple[list[SourceSample], list[str], list[Finding]]:
    """The samples with the splits that the source's folders fix, what was decided on the way, and what is missing."""
    samples = list(content.samples)
    if not content.split_folders:
        return samples, [], []
    present = {SPLIT_FOLDERS[name] for name in content.split_folders}
    if len(present) == 1:
        return samples, [f"the folder {content.split_folders[0]} alone does not fix splits: a hash decides them"], []
    if "train" not in present:
        return samples, [], [Finding(content.root.name, f"has the folders {', '.join(content.split_folders)}, but no train")]
    notes: list[str] = []
    if "test" not in present:
        samples = [replace(sample, split="test") if sample.split == "validation" else sample for sample in samples]
        notes.append("there is no test folder: the validation folder is the test split")
    if not {"validation", "test"} <= present:
        samples = _with_validation(samples, content.inputs)
        notes.append(f"a fifth of the train folder, chosen by a hash of the {_HASHED[task]}, is the validation split")
    return samples, notes, []


def _with_validation(samples: Sequence[SourceSample], inputs: Sequence[InputFile]) -> list[SourceSample]:
    shares = SplitSection()
    validation_frac = shares.validation / (shares.train + shares.validation)
    return [
        replace(sample, split="validation")
        if sample.split == "train" and unit_hash(content_digest(file), _VALIDATION_SALT) < validation_frac
        else sample
        for sample, file in zip(samples, inputs, strict=True)
    ]


def _write_labels(samples: Sequence[SourceSample], path: Path) -> None:
    table = pd.DataFrame([asdict(sample) for sample in samples]).drop(columns=["slices", "text"])
    used = [column for column in OPTIONAL_COLUMNS if table[column].ne("").any()]
    table[[*REQUIRED_COLUMNS, *used]].to_csv(path, index=False, lineterminator="\n")


def _write_texts(samples: Sequence[SourceSample], path: Path) -> None:
    used = [column for column in OPTIONAL_COLUMNS if any(getattr(sample, column) for sample in samples)]
    columns = (TEXT_COLUMN, "label", *used)
    # Not by pandas, which puts no quotes around a carriage return.
    lines = [csv_line(columns), *(csv_line([str(getattr(sample, column)) for column in columns]) for sample in samples)]
    path.write_bytes("".join(f"{line}\n" for line in lines).encode())
