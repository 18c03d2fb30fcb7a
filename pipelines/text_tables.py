"""Reads a table of texts that a user names, in each of the formats that such tables come in, as one that holds texts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipelines.core.errors import DataError, Finding
from pipelines.core.label_sets import SEPARATOR, LabelsPerSample
from pipelines.labels_table import Holds, LabelRow, LabelsTable, known_columns, no_rows, read_labels_table, refuse_columns
from pipelines.table_files import has_surrogate, jsonl_lines, tsv_lines
from pipelines.text_rows import text_paths

TEXT_TABLE_SUFFIXES = (".csv", ".parquet", ".tsv", ".jsonl")
_HALF = "half a character (a lone surrogate)"


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
    columns, read = tsv_lines(table) if suffix == ".tsv" else jsonl_lines(table)
    lines = list(read)
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
    if any(has_surrogate(name) for name in cells):
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
    return _HALF if any(map(has_surrogate, texts)) else ""


def _cell_fault(cell: object) -> str:
    if isinstance(cell, str):
        return _HALF if has_surrogate(cell) else ""
    if isinstance(cell, float):
        return "" if math.isfinite(cell) else "a number that is not finite"
    if isinstance(cell, list):
        return "a list; a list of names is a label where labels_per_sample is many"
    return "" if cell is None or isinstance(cell, int) else "an object"
