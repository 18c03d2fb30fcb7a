"""Reads files of tables, CSV, TSV, JSONL and Parquet: their columns and their cells, before anything is asked of them.

Lines of one such file are read as they are asked for, so that a table without the right columns is refused before its rows are read.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipelines.core.errors import DataError

# A cell of a table may hold a whole document; what is too long for the network is cut there, not here.
_MOST_CELL_CHARACTERS = 100_000_000
_ALLOWED = {
    "CSV": "comma-separated cells, quoted with double quotes where they hold a comma.",
    "TSV": f"cells between tabs, of {_MOST_CELL_CHARACTERS:,} characters at most.",
}
# Number of the line, and its cells by column, or what is wrong with it.
Line = tuple[int, Mapping[str, Any] | str]


def file_text(file: Path) -> str:
    """What a file holds, without a byte order mark.

    Raises:
        DataError: It is not UTF-8.
    """
    try:
        return file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            got=f"{file.name}, whose byte {error.start} is not UTF-8.",
            allowed="text in UTF-8.",
            next_step="save the file in UTF-8; spreadsheets call it CSV UTF-8.",
        ) from error


def csv_lines(table: Path) -> tuple[list[str], Iterator[Line]]:
    """The columns of a table with commas, and its lines below them, each with the number of the first line that it takes.

    Raises:
        DataError: It is not UTF-8; or a line does not parse, which is said when that line is asked for.
    """
    # `strict` turns an unclosed quote into an error: without it one stray quote swallows the rest of the table as one cell.
    return _by_column(_rows(table, "CSV", strict=True), "; put double quotes around a cell with a comma")


def tsv_lines(table: Path) -> tuple[list[str], Iterator[Line]]:
    """The columns of a table with tabs and without quotes, as such files are made, and its lines below them.

    Raises:
        DataError: As `csv_lines`.
    """
    return _by_column(_rows(table, "TSV", delimiter="\t", quoting=csv.QUOTE_NONE))


def _rows(table: Path, kind: str, **dialect: Any) -> Iterator[tuple[int, list[str]]]:
    # Of the process, and the same whoever sets it; the module's own limit is the length of a longer letter.
    csv.field_size_limit(_MOST_CELL_CHARACTERS)
    reader = csv.reader(io.StringIO(file_text(table), newline=""), **dialect)
    first_line = 1
    try:
        for cells in reader:
            if cells:
                yield first_line, cells
            first_line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            got=f"{table.name}, which does not parse as {kind}: {error}.",
            allowed=_ALLOWED[kind],
            next_step="correct the line, or export the table again.",
        ) from error


def _by_column(rows: Iterator[tuple[int, list[str]]], hint_on_more: str = "") -> tuple[list[str], Iterator[Line]]:
    _, columns = next(rows, (1, []))

    def as_mapping(cells: list[str]) -> Mapping[str, str] | str:
        if len(cells) == len(columns):
            return dict(zip(columns, cells, strict=True))
        return f"has {len(cells)} cells, the header has {len(columns)}{hint_on_more if len(cells) > len(columns) else ''}"

    return columns, ((number, as_mapping(cells)) for number, cells in rows)


def jsonl_lines(table: Path) -> tuple[list[str], list[Line]]:
    """All names of an object a line, and the lines; cells are what JSON makes of them.

    Raises:
        DataError: It is not UTF-8.
    """
    lines: list[Line] = []
    # Not `splitlines`, which breaks a line at U+2028 and its like.
    for number, line in enumerate(file_text(table).split("\n"), start=1):
        if line.strip():
            try:
                found = json.loads(line)
            except (ValueError, RecursionError):
                found = None
            lines.append((number, found if isinstance(found, dict) else "is no JSON object"))
    names = dict.fromkeys(name for _, cells in lines if isinstance(cells, Mapping) for name in cells)
    return [name for name in names if not has_surrogate(name)], lines


def has_surrogate(text: str) -> bool:
    """Whether a text holds half a character, as JSON can write it: nothing can be made of it in UTF-8."""
    return any("\ud800" <= character <= "\udfff" for character in text)


def parquet_columns(table: Path) -> list[str]:
    """The names of a Parquet file's columns.

    Raises:
        DataError: It is no such file.
    """
    import pyarrow.parquet

    with _said_of(table):
        return list(pyarrow.parquet.read_schema(table).names)


def parquet_records(table: Path, columns: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of a Parquet file; of its columns these alone are read. Bytes are texts whose writer did not say so, as some do not.

    Raises:
        DataError: It is no such file, or damaged, or a cell of text is not UTF-8.
    """
    import pyarrow.parquet

    with _said_of(table):
        # A name stands for all columns that begin with it and a dot, too.
        content = pyarrow.parquet.ParquetFile(table).read(columns=list(columns)).select(list(columns))
        return [{name: _decoded(cell) for name, cell in record.items()} for record in content.to_pylist()]


def _decoded(cell: Any) -> Any:
    return cell.decode("utf-8") if isinstance(cell, bytes) else cell


@contextmanager
def _said_of(table: Path) -> Iterator[None]:
    import pyarrow

    try:
        yield
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(
            got=f"{table.name}, which does not read as Parquet: {error}.",
            allowed="a complete Parquet file.",
            next_step="export the table again.",
        ) from error
    # What writes Parquet need not look into its strings; half a character (a lone surrogate) is one such.
    except UnicodeDecodeError as error:
        raise DataError(
            got=f"{table.name}, in which a cell of text is not UTF-8.",
            allowed="text in UTF-8.",
            next_step="correct the text, and export the table again.",
        ) from error
