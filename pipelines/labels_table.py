"""Reads a labels table, CSV or Parquet, as text: what a team wrote, row by row, before anything is made of it.

Every cell is a string, so that labels such as `007`, `NA` or `None` stay what they are. A table names files in the column `path`, or it
holds the samples itself in the column `text`; a text's path is then made of its content (`pipelines.text_rows`). Texts that are to be
predicted have no label yet, and of a table of such ones nothing else is read.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pipelines.core.errors import DataError, Finding
from pipelines.table_files import csv_lines, parquet_columns, parquet_records
from pipelines.text_rows import TEXT_COLUMN, text_paths

Holds = Literal["files", "texts", "unlabelled texts"]
REQUIRED_COLUMNS = ("path", "label")
# By what a table holds.
_REQUIRED: dict[Holds, tuple[str, ...]] = {
    "files": REQUIRED_COLUMNS,
    "texts": (TEXT_COLUMN, "label"),
    "unlabelled texts": (TEXT_COLUMN,),
}
OPTIONAL_COLUMNS = ("group", "domain", "arrival", "split")
COLUMNS = REQUIRED_COLUMNS + OPTIONAL_COLUMNS
TABLE_SUFFIXES = (".csv", ".parquet")


@dataclass(frozen=True)
class LabelRow:
    """One row; a column that the table does not have is empty.

    Attributes:
        where: Names the row to a reader: `labels.csv line 17`, or `labels.parquet row 16`.
        path: Of the file; of a text what `pipelines.text_rows` makes of it.
        text: The sample itself, in a table that holds texts.
        slices: Name and cell of each further column that was asked for and that the table has.
    """

    where: str
    path: str
    label: str
    group: str = ""
    domain: str = ""
    arrival: str = ""
    split: str = ""
    slices: tuple[tuple[str, str], ...] = ()
    text: str = ""


@dataclass(frozen=True)
class LabelsTable:
    """A labels table that has the columns it needs and at least one row.

    Attributes:
        rows: In the table's order.
        columns: In the table's order, unknown ones included.
        findings: Rows that could not be read as the header says; they are not among `rows`.
        slices: Further columns that the rows carry.
        holds: What its rows are.
    """

    rows: tuple[LabelRow, ...]
    columns: tuple[str, ...]
    findings: tuple[Finding, ...]
    slices: tuple[str, ...] = ()
    holds: Holds = "files"

    @property
    def unknown_columns(self) -> tuple[str, ...]:
        """Columns that Regraft does not use."""
        return tuple(column for column in self.columns if column not in (*known_columns(self.holds), *self.slices))


def known_columns(holds: Holds) -> tuple[str, ...]:
    """The columns that Regraft uses, of a table that holds files or texts."""
    return _REQUIRED[holds] + optional_columns(holds)


def optional_columns(holds: Holds) -> tuple[str, ...]:
    """Those of them that a table need not have."""
    return () if holds == "unlabelled texts" else OPTIONAL_COLUMNS


def held_by_task(task: str) -> Holds:
    """What the labels table of a project holds."""
    return "texts" if task == "text" else "files"


def held_by(table: Path) -> Holds:
    """What a table holds, by its columns: texts where it has a column `text` and none called `path`.

    Raises:
        DataError: As `read_labels_table`.
    """
    columns = csv_lines(table)[0] if table.suffix.lower() == ".csv" else parquet_columns(table)
    return "texts" if TEXT_COLUMN in columns and "path" not in columns else "files"


def read_labels_table(table: Path, slices: Sequence[str] = (), holds: Holds = "files", name: str = "") -> LabelsTable:
    """Reads a labels table.

    Args:
        table: `.csv` (UTF-8, with or without byte order mark, comma between cells) or `.parquet`.
        slices: Further columns to carry, where the table has them; see `refuse_missing_slices`.
        holds: What its rows are: names of files, or texts.
        name: Of the table relative to `data/`, which paths of texts begin with; its file name where nothing is said.

    Raises:
        DataError: No such file, another format, not UTF-8, a column missing or twice, or no row.
    """
    if not table.is_file():
        raise _no_table(table, holds)
    if table.suffix.lower() == ".parquet":
        columns, rows, findings = _read_parquet(table, slices, holds)
    elif table.suffix.lower() == ".csv":
        columns, rows, findings = _read_csv(table, slices, holds)
    else:
        raise DataError(
            got=f"the labels table {table.name}.", allowed="a .csv or .parquet file.", next_step="export the table as CSV in UTF-8."
        )
    if not rows and not findings:
        raise no_rows(table, holds)
    if holds != "files":
        paths = text_paths([row.text for row in rows], name or table.name)
        rows = [replace(row, path=path) for row, path in zip(rows, paths, strict=True)]
    return LabelsTable(tuple(rows), tuple(columns), tuple(findings), tuple(name for name in slices if name in columns), holds)


def refuse_missing_slices(table: LabelsTable, slices: Sequence[str], name: str) -> None:
    """Refuses a table that lacks a column of `data.slices`.

    Args:
        table: Read with `slices`.
        slices: Of the conf file.
        name: Of the table, for the reader.

    Raises:
        DataError: Names the columns that are there.
    """
    missing = [column for column in slices if column not in table.columns]
    if missing:
        raise DataError(
            got=f"{name} without the column {', '.join(map(repr, missing))} that data.slices names.",
            allowed=f"its further columns: {', '.join(map(repr, (*table.slices, *table.unknown_columns))) or 'none'}.",
            next_step="add the column to the table, or correct data.slices in the conf file.",
        )


def _no_table(table: Path, holds: Holds) -> DataError:
    beside = sorted(path.name for path in table.parent.glob("*") if path.suffix.lower() in TABLE_SUFFIXES) if table.parent.is_dir() else []
    return DataError(
        got=f"no labels table at {table}." + (f" The folder holds {', '.join(beside)}." if beside else ""),
        allowed=f"a CSV or Parquet file with the columns {' and '.join(_REQUIRED[holds])}.",
        next_step="write the table, name another with data.labels_table in the conf file, or restore the data with `dvc checkout`.",
    )


def no_rows(table: Path, holds: Holds) -> DataError:
    """What is said of a table that has nothing below its header."""
    return DataError(
        got=f"{table.name} without a single row below its header.",
        allowed=f"one row for each sample, with its {' and its '.join(_REQUIRED[holds])}.",
        next_step="add the samples to the table.",
    )


def refuse_columns(table: Path, columns: Sequence[str], holds: Holds) -> None:
    """Refuses a table that lacks a column it needs, or has one twice.

    Raises:
        DataError: Names them, and those that are there.
    """
    missing = [column for column in _REQUIRED[holds] if column not in columns]
    twice = sorted({column for column in columns if columns.count(column) > 1})
    if not missing and not twice:
        return
    faults = [f"without the column {', '.join(missing)}"] if missing else []
    faults += [f"with the column {', '.join(map(repr, twice))} twice"] if twice else []
    optional = optional_columns(holds)
    there = ", ".join(repr(column) for column in columns) or "no columns"
    if holds == "unlabelled texts":  # of a table without a header the first line is a text, and what is said may be logged
        there = f"{len(columns)} columns"
    raise DataError(
        got=f"{table.name} {' and '.join(faults)}; it has {there}.",
        allowed=f"comma-separated columns {', '.join(_REQUIRED[holds])}, each once"
        + (f"; optional are {', '.join(optional)}." if optional else "."),
        next_step="correct the first line of the table.",
    )


def _read_csv(table: Path, slices: Sequence[str], holds: Holds) -> tuple[list[str], list[LabelRow], list[Finding]]:
    columns, lines = csv_lines(table)
    refuse_columns(table, columns, holds)
    rows: list[LabelRow] = []
    findings: list[Finding] = []
    for number, cells in lines:
        where = f"{table.name} line {number}"
        if isinstance(cells, str):
            findings.append(Finding(where, cells))
        else:
            rows.append(_as_row(where, cells, slices, holds))
    return columns, rows, findings


def _read_parquet(table: Path, slices: Sequence[str], holds: Holds) -> tuple[list[str], list[LabelRow], list[Finding]]:
    columns = parquet_columns(table)
    refuse_columns(table, columns, holds)
    records = parquet_records(table, [column for column in columns if column in (*known_columns(holds), *slices)])
    rows = [
        _as_row(f"{table.name} row {number}", {column: _as_text(value) for column, value in record.items()}, slices, holds)
        for number, record in enumerate(records, start=1)
    ]
    return columns, rows, []


def _as_row(where: str, cells: Mapping[str, str], slices: Sequence[str], holds: Holds) -> LabelRow:
    further = tuple((name, cells[name]) for name in slices if name in cells)
    stated = {column: cells[column] for column in known_columns(holds) if column in cells}
    return LabelRow(where, slices=further, **({"path": "", "label": ""} | stated))


def _as_text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime.datetime | datetime.date):
        return value.isoformat()
    return str(value)
