"""Reads a labels table, CSV or Parquet, as text: what a team wrote, row by row, before anything is made of it.

Every cell is a string, so that labels such as `007`, `NA` or `None` stay what they are.
"""

from __future__ import annotations

import csv
import datetime
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.core.errors import DataError, Finding

REQUIRED_COLUMNS = ("path", "label")
OPTIONAL_COLUMNS = ("group", "domain", "arrival", "split")
COLUMNS = REQUIRED_COLUMNS + OPTIONAL_COLUMNS
TABLE_SUFFIXES = (".csv", ".parquet")


@dataclass(frozen=True)
class LabelRow:
    """One row; a column that the table does not have is empty.

    Attributes:
        where: Names the row to a reader: `labels.csv line 17`, or `labels.parquet row 16`.
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


@dataclass(frozen=True)
class LabelsTable:
    """A labels table that has the columns it needs and at least one row.

    Attributes:
        rows: In the table's order.
        columns: In the table's order, unknown ones included.
        findings: Rows that could not be read as the header says; they are not among `rows`.
        slices: Further columns that the rows carry.
    """

    rows: tuple[LabelRow, ...]
    columns: tuple[str, ...]
    findings: tuple[Finding, ...]
    slices: tuple[str, ...] = ()

    @property
    def unknown_columns(self) -> tuple[str, ...]:
        """Columns that Regraft does not use."""
        return tuple(column for column in self.columns if column not in (*COLUMNS, *self.slices))


def read_labels_table(table: Path, slices: Sequence[str] = ()) -> LabelsTable:
    """Reads a labels table.

    Args:
        table: `.csv` (UTF-8, with or without byte order mark, comma between cells) or `.parquet`.
        slices: Further columns to carry, where the table has them; see `refuse_missing_slices`.

    Raises:
        DataError: No such file, another format, not UTF-8, a column missing or twice, or no row.
    """
    if not table.is_file():
        raise _no_table(table)
    if table.suffix.lower() == ".parquet":
        columns, rows, findings = _read_parquet(table, slices)
    elif table.suffix.lower() == ".csv":
        columns, rows, findings = _read_csv(table, slices)
    else:
        raise DataError(
            got=f"the labels table {table.name}.", allowed="a .csv or .parquet file.", next_step="export the table as CSV in UTF-8."
        )
    if not rows and not findings:
        raise DataError(
            got=f"{table.name} without a single row below its header.",
            allowed="one row for each sample, with its path and its label.",
            next_step="add the samples to the table.",
        )
    return LabelsTable(tuple(rows), tuple(columns), tuple(findings), tuple(name for name in slices if name in columns))


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


def _no_table(table: Path) -> DataError:
    beside = sorted(path.name for path in table.parent.glob("*") if path.suffix.lower() in TABLE_SUFFIXES) if table.parent.is_dir() else []
    return DataError(
        got=f"no labels table at {table}." + (f" The folder holds {', '.join(beside)}." if beside else ""),
        allowed="a CSV or Parquet file with the columns path and label.",
        next_step="write the table, name another with data.labels_table in the conf file, or restore the data with `dvc checkout`.",
    )


def _check_columns(table: Path, columns: Sequence[str]) -> None:
    missing = [column for column in REQUIRED_COLUMNS if column not in columns]
    twice = sorted({column for column in columns if columns.count(column) > 1})
    if not missing and not twice:
        return
    faults = [f"without the column {', '.join(missing)}"] if missing else []
    faults += [f"with the column {', '.join(map(repr, twice))} twice"] if twice else []
    raise DataError(
        got=f"{table.name} {' and '.join(faults)}; it has {', '.join(repr(column) for column in columns) or 'no columns'}.",
        allowed=f"comma-separated columns {', '.join(REQUIRED_COLUMNS)}, each once; optional are {', '.join(OPTIONAL_COLUMNS)}.",
        next_step="correct the first line of the table.",
    )


def _read_csv(table: Path, slices: Sequence[str]) -> tuple[list[str], list[LabelRow], list[Finding]]:
    try:
        text = table.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            got=f"{table.name}, whose byte {error.start} is not UTF-8.",
            allowed="text in UTF-8.",
            next_step="save the table as CSV in UTF-8.",
        ) from error
    try:
        return _parse_csv(table, text, slices)
    except csv.Error as error:
        raise DataError(
            got=f"{table.name}, which does not parse as CSV: {error}.",
            allowed="comma-separated cells, quoted with double quotes where they hold a comma.",
            next_step="correct the line, or export the table again.",
        ) from error


def _parse_csv(table: Path, text: str, slices: Sequence[str]) -> tuple[list[str], list[LabelRow], list[Finding]]:
    lines = _csv_lines(text)
    _, columns = next(lines, (1, []))
    _check_columns(table, columns)
    rows: list[LabelRow] = []
    findings: list[Finding] = []
    for line, cells in lines:
        where = f"{table.name} line {line}"
        if len(cells) == len(columns):
            rows.append(_as_row(where, dict(zip(columns, cells, strict=True)), slices))
        else:
            hint = "; put double quotes around a cell with a comma" if len(cells) > len(columns) else ""
            findings.append(Finding(where, f"has {len(cells)} cells, the header has {len(columns)}{hint}"))
    return columns, rows, findings


def _csv_lines(text: str) -> Iterator[tuple[int, list[str]]]:
    # `strict` turns an unclosed quote into an error: without it one stray quote swallows the rest of the table as one cell.
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    first_line = 1
    for cells in reader:
        if cells:
            yield first_line, cells
        first_line = reader.line_num + 1


def _read_parquet(table: Path, slices: Sequence[str]) -> tuple[list[str], list[LabelRow], list[Finding]]:
    import pyarrow
    import pyarrow.parquet

    try:
        content = pyarrow.parquet.ParquetFile(table).read()
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(
            got=f"{table.name}, which does not read as Parquet: {error}.",
            allowed="a complete Parquet file.",
            next_step="export the table again.",
        ) from error
    columns = list(content.column_names)
    _check_columns(table, columns)
    known = content.select([column for column in columns if column in (*COLUMNS, *slices)])
    rows = [
        _as_row(f"{table.name} row {number}", {column: _as_text(value) for column, value in record.items()}, slices)
        for number, record in enumerate(known.to_pylist(), start=1)
    ]
    return columns, rows, []


def _as_row(where: str, cells: dict[str, str], slices: Sequence[str]) -> LabelRow:
    further = tuple((name, cells[name]) for name in slices if name in cells)
    return LabelRow(where, slices=further, **{column: cells[column] for column in COLUMNS if column in cells})


def _as_text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime.datetime | datetime.date):
        return value.isoformat()
    return str(value)
