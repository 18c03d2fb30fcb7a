"""Samples: what the labels table says, joined with what the files hold.

`data/` holds `labels.csv` (or `.parquet`) and the sample files. Columns: `path` (relative to `data/`) and `label`; optional are
`group` (samples of one group share a split: a patient, a writer), `domain` (a scanner, a client), `arrival` (ISO 8601) and
`split` (a split that the team has fixed itself; empty: decided by hash). Further columns that `data.slices` names travel along. Texts
stand in the table itself, in a column `text` in place of `path` (`pipelines.text_rows`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from pipelines.core.errors import IntegrityError
from pipelines.text_rows import read_text, table_of

Split = Literal["train", "validation", "test", "holdout"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test", "holdout")
DEFAULT_DOMAIN = "default"
SAMPLE_COLUMNS = ("id", "path", "label", "group", "domain", "arrival", "split")
# In samples.csv and predictions.csv a further column of the labels table stands under its name behind this.
SLICE_PREFIX = "slice:"


@dataclass(frozen=True)
class Sample:
    """One labelled example.

    Attributes:
        id: sha256 of the file's bytes, or of a text's in UTF-8.
        path: Relative to `data/`, with forward slashes; of a text see `pipelines.text_rows`.
        label: One of the project's labels, or the text of a set of them (`pipelines.core.label_sets`).
        group: Samples with one group share a split; the id where the table has no group.
        domain: Where it came from.
        arrival: Day as YYYY-MM-DD, or empty.
        split: `holdout` samples are used by no stage.
        slices: Name and cell of each further column of the labels table that `data.slices` names; the cell may be empty.
    """

    id: str
    path: str
    label: str
    group: str
    domain: str
    arrival: str
    split: Split
    slices: tuple[tuple[str, str], ...] = ()


def write_samples(samples: Iterable[Sample], path: Path) -> None:
    """Writes samples as CSV, in the given order."""
    rows = [_as_row(sample) for sample in samples]
    columns = [*SAMPLE_COLUMNS, *slice_columns(dict.fromkeys(name for row in rows for name in row))]
    pd.DataFrame(rows, columns=columns).to_csv(path, index=False, lineterminator="\n")


def slice_columns(columns: Iterable[str]) -> list[str]:
    """Those of the columns of samples.csv or predictions.csv that hold a further column of the labels table."""
    return [column for column in columns if column.startswith(SLICE_PREFIX)]


def with_slice_prefix(slices: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Cells by their column in samples.csv."""
    return {SLICE_PREFIX + name: cell for name, cell in slices}


def _as_row(sample: Sample) -> dict[str, str]:
    return {name: getattr(sample, name) for name in SAMPLE_COLUMNS} | with_slice_prefix(sample.slices)


def _as_sample(row: Mapping[str, str], further: Sequence[str]) -> Sample:
    slices = tuple((name.removeprefix(SLICE_PREFIX), row[name]) for name in further)
    return Sample(slices=slices, **{name: value for name, value in row.items() if name not in further})  # type: ignore[arg-type]


def read_samples(path: Path, *splits: Split) -> list[Sample]:
    """Reads samples that `write_samples` wrote, all of them or those of the named splits."""
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    further = slice_columns(table.columns)
    samples = [_as_sample({str(name): value for name, value in row.items()}, further) for row in table.to_dict(orient="records")]
    return [sample for sample in samples if not splits or sample.split in splits]


def read_sample(data: Path, sample: Sample) -> bytes:
    """Reads a sample's file, or its text from the labels table: the very bytes that the manifest saw and the validation judged.

    Args:
        data: The folder that `sample.path` is relative to.
        sample: Its id is what the bytes are checked against.

    Raises:
        IntegrityError: The file cannot be read, or changed since it was listed.
    """
    try:
        content = _content(data, sample)
    except OSError as error:
        raise _changed_sample(sample, f"that cannot be read any more ({error.strerror})") from error
    if content is None:
        raise _changed_sample(sample, "that changed since it was listed: the labels table has no such text any more")
    digest = hashlib.sha256(content).hexdigest()
    if digest != sample.id:
        raise _changed_sample(sample, f"that changed since it was listed: its sha256 was {sample.id[:12]}… and is {digest[:12]}…")
    return content


def _content(data: Path, sample: Sample) -> bytes | None:
    table = table_of(sample.path, sample.id)
    return (data / sample.path).read_bytes() if table is None else read_text(data / table, sample.id)


def _changed_sample(sample: Sample, problem: str) -> IntegrityError:
    return IntegrityError(
        got=f"the file {sample.path} of the data {problem}.",
        allowed="files that stay as they are while a run reads them.",
        next_step="run the command again: it lists the files anew. Let nothing write into data/ meanwhile.",
    )


def read_labelled_paths(data: Path, split: Split) -> list[tuple[str, str]]:
    """Path and label of the samples that the labels table itself puts into `split`."""
    table = pd.read_csv(data / "labels.csv", dtype=str, keep_default_na=False)
    rows = table[table["split"] == split]
    return list(zip(rows["path"], rows["label"], strict=True))
