"""Reads a table of texts that a user names, in each of the formats that such tables come in, as one that holds texts."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.core.errors import DataError, Finding
from pipelines.labels_table import LabelRow, LabelsTable, read_labels_table, refuse_columns
from pipelines.text_rows import MOST_CELL_CHARACTERS, TEXT_COLUMN, text_paths

TEXT_TABLE_SUFFIXES = (".csv", ".parquet", ".tsv", ".jsonl")
_COLUMNS = (TEXT_COLUMN, "label", "group", "domain", "arrival", "split")


def read_text_table(table: Path, slices: Sequence[str] = ()) -> LabelsTable:
    """Reads a table of texts.

    Args:
        table: `.csv` and `.parquet` as `read_labels_table` reads them; `.tsv`, with tabs and without quotes, as such files are made; or
            `.jsonl`, an object a line.
        slices: Further columns to carry, where the table has them.

    Raises:
        DataError: Another format, not UTF-8, a column missing, or no row.
    """
    suffix = table.suffix.lower()
    if suffix in (".csv", ".parquet"):
        return read_labels_table(table, slices, "texts")
    if suffix not in TEXT_TABLE_SUFFIXES:
        raise DataError(
            got=f"the table {table.name}.",
            allowed=f"a file that ends in {', '.join(TEXT_TABLE_SUFFIXES)}.",
            next_step="export the table as CSV in UTF-8.",
        )
    lines = list(_tsv_lines(table) if suffix == ".tsv" else _json_lines(table))
    columns = list(dict.fromkeys(name for _, cells in lines if isinstance(cells, Mapping) for name in cells))
    refuse_columns(table, columns, "texts")
    rows = [_row(f"{table.name} line {number}", cells, slices) for number, cells in lines if isinstance(cells, Mapping)]
    findings = [Finding(f"{table.name} line {number}", cells) for number, cells in lines if isinstance(cells, str)]
    paths = text_paths([row.text for row in rows], table.name)
    placed = tuple(LabelRow(**{**row.__dict__, "path": path}) for row, path in zip(rows, paths, strict=True))
    return LabelsTable(placed, tuple(columns), tuple(findings), tuple(name for name in slices if name in columns), "texts")


def _row(where: str, cells: Mapping[str, Any], slices: Sequence[str]) -> LabelRow:
    stated = {name: _as_text(cells.get(name)) for name in _COLUMNS}
    return LabelRow(where, path="", slices=tuple((name, _as_text(cells[name])) for name in slices if name in cells), **stated)


def _as_text(value: object) -> str:
    return "" if value is None else str(value)


def _content(table: Path) -> str:
    try:
        return table.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            got=f"{table.name}, whose byte {error.start} is not UTF-8.",
            allowed="text in UTF-8.",
            next_step="save the table in UTF-8.",
        ) from error


def _tsv_lines(table: Path) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    csv.field_size_limit(MOST_CELL_CHARACTERS)
    reader = csv.reader(io.StringIO(_content(table), newline=""), delimiter="\t", quoting=csv.QUOTE_NONE)
    columns = next(reader, [])
    for cells in reader:
        if cells:
            whole = len(cells) == len(columns)
            said = f"has {len(cells)} cells, the header has {len(columns)}"
            yield reader.line_num, dict(zip(columns, cells, strict=True)) if whole else said


def _json_lines(table: Path) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    # Not `splitlines`, which breaks a line at U+2028 and its like.
    for number, line in enumerate(_content(table).split("\n"), start=1):
        if line.strip():
            try:
                found = json.loads(line)
            except (ValueError, RecursionError):
                found = None
            yield number, found if isinstance(found, dict) else "is no JSON object"
