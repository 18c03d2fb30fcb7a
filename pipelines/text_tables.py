"""Reads a table of texts that a user names, in each of the formats that such tables come in, as one that holds texts."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipelines.core.errors import DataError, Finding
from pipelines.core.label_sets import SEPARATOR, LabelsPerSample
from pipelines.labels_table import Holds, LabelRow, LabelsTable, known_columns, no_rows, read_labels_table, refuse_columns
from pipelines.text_rows import MOST_CELL_CHARACTERS, text_paths

TEXT_TABLE_SUFFIXES = (".csv", ".parquet", ".tsv", ".jsonl")
_HALF = "half a character (a lone surrogate)"
# Number of the line, and its cells or what is wrong with it.
Lines = list[tuple[int, Mapping[str, Any] | str]]


def read_text_table(
    table: Path, slices: Sequence[str] = (), labels_per_sample: LabelsPerSample = "one", holds: Holds = "texts"
) -> LabelsTable:
    """Reads a table of texts.

    Args:
        table: `.csv` and `.parquet` as `read_labels_table` reads them; `.tsv`, with tabs and without quotes, as such files are made; or
            `.jsonl`, an object a line.
        slices: Further columns to carry, where the table has them.
        labels_per_sample: `many`: a label of `.jsonl` may be a list of names, too.
        holds: `unlabelled texts`: of the table nothing but the texts is read.

    Raises:
        DataError: Another format, not UTF-8, a column missing or twice, or no row.
    """
    suffix = table.suffix.lower()
    if suffix in (".csv", ".parquet"):
        return read_labels_table(table, slices, holds)
    if suffix not in TEXT_TABLE_SUFFIXES:
        raise DataError(
            got=f"the table {table.name}.",
            allowed=f"a file that ends in {', '.join(TEXT_TABLE_SUFFIXES)}.",
            next_step="export the table as CSV in UTF-8.",
        )
    columns, lines = tsv_lines(table) if suffix == ".tsv" else jsonl_lines(table)
    if not lines:
        raise no_rows(table, holds)
    if columns:
        refuse_columns(table, columns, holds)
    rows: list[LabelRow] = []
    findings: list[Finding] = []
    for number, cells in lines:
        where = f"{table.name} line {number}"
        problem = cells if isinstance(cells, str) else _problem(cells, (*known_columns(holds), *slices), labels_per_sample)
        if problem or isinstance(cells, str):
            findings.append(Finding(where, problem))
        else:
            rows.append(_row(where, cells, slices, holds))
    paths = text_paths([row.text for row in rows], table.name)
    placed = tuple(replace(row, path=path) for row, path in zip(rows, paths, strict=True))
    return LabelsTable(placed, tuple(columns), tuple(findings), tuple(name for name in slices if name in columns), holds)


def _row(where: str, cells: Mapping[str, Any], slices: Sequence[str], holds: Holds) -> LabelRow:
    stated = {"label": ""} | {name: _as_text(cells.get(name)) for name in known_columns(holds)}
    return LabelRow(where, path="", slices=tuple((name, _as_text(cells[name])) for name in slices if name in cells), **stated)


def _as_text(value: object) -> str:
    if isinstance(value, list):
        return SEPARATOR.join(value)
    return "" if value is None else str(value)


def _problem(cells: Mapping[str, Any], names: Sequence[str], labels_per_sample: LabelsPerSample) -> str:
    """What is wrong with the first cell that is none; a cell is never repeated in it."""
    if any(_has_surrogate(name) for name in cells):
        return f"a name of a column holds {_HALF}"
    for name in names:
        is_set = name == "label" and labels_per_sample == "many" and isinstance(cells.get(name), list)
        fault = _set_fault(cells[name]) if is_set else _cell_fault(cells.get(name))
        if fault:
            return f"the column {name!r} holds {fault}"
    return ""


def _set_fault(names: Sequence[object]) -> str:
    texts = [name for name in names if isinstance(name, str) and name.strip() and SEPARATOR not in name]
    if len(texts) < len(names):
        return f"a list that is not one of names; a name is text that is not empty, without a {SEPARATOR}"
    return _HALF if any(map(_has_surrogate, texts)) else ""


def _cell_fault(cell: object) -> str:
    if isinstance(cell, str):
        return _HALF if _has_surrogate(cell) else ""
    if isinstance(cell, float):
        return "" if math.isfinite(cell) else "a number that is not finite"
    if isinstance(cell, list):
        return "a list; a list of names is a label where labels_per_sample is many"
    return "" if cell is None or isinstance(cell, int) else "an object"


def _has_surrogate(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


def table_content(table: Path) -> str:
    """What a file holds, without a byte order mark.

    Raises:
        DataError: It is not UTF-8.
    """
    try:
        return table.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            got=f"{table.name}, whose byte {error.start} is not UTF-8.",
            allowed="text in UTF-8.",
            next_step="save the table in UTF-8.",
        ) from error


def tsv_lines(table: Path) -> tuple[list[str], Lines]:
    """The columns of a table with tabs and without quotes, and its lines below them."""
    csv.field_size_limit(MOST_CELL_CHARACTERS)
    reader = csv.reader(io.StringIO(table_content(table), newline=""), delimiter="\t", quoting=csv.QUOTE_NONE)
    columns = next(reader, [])
    lines: Lines = []
    for cells in reader:
        if cells:
            whole = len(cells) == len(columns)
            said = f"has {len(cells)} cells, the header has {len(columns)}"
            lines.append((reader.line_num, dict(zip(columns, cells, strict=True)) if whole else said))
    return columns, lines


def jsonl_lines(table: Path) -> tuple[list[str], Lines]:
    """All names of an object a line, and the lines."""
    lines: Lines = []
    # Not `splitlines`, which breaks a line at U+2028 and its like.
    for number, line in enumerate(table_content(table).split("\n"), start=1):
        if line.strip():
            try:
                found = json.loads(line)
            except (ValueError, RecursionError):
                found = None
            lines.append((number, found if isinstance(found, dict) else "is no JSON object"))
    names = dict.fromkeys(name for _, cells in lines if isinstance(cells, Mapping) for name in cells)
    return [name for name in names if not _has_surrogate(name)], lines
