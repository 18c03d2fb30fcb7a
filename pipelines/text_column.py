"""Texts without labels from a file that a user names: the column `text` of a table, or lines. No other column is looked at."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from pipelines.core.errors import DataError
from pipelines.text_rows import MOST_CELL_CHARACTERS, TEXT_COLUMN
from pipelines.text_tables import jsonl_lines, table_content, tsv_lines

TEXT_FILE_SUFFIXES = (".csv", ".tsv", ".parquet", ".jsonl", ".txt")


def read_text_column(file: Path) -> list[str]:
    """The texts of a file in its order, an empty one for a row that has none.

    Args:
        file: `.csv`, `.tsv`, `.parquet` or `.jsonl` with the column `text`; of `.txt` each line is a text.

    Raises:
        DataError: No such file, another format, damaged, not UTF-8, no column `text` or two of them, or no row.
    """
    suffix = file.suffix.lower()
    if not file.is_file() or suffix not in TEXT_FILE_SUFFIXES:
        raise DataError(
            got=f"--texts {file}, {'a file of another kind' if file.is_file() else 'which is no file'}.",
            allowed=f"a file that ends in {', '.join(TEXT_FILE_SUFFIXES)}.",
            next_step="correct the path, or export the texts as CSV in UTF-8 with the column text.",
        )
    if suffix == ".txt":
        # Not `splitlines`, which breaks a line at U+2028 and its like.
        texts = [line.removesuffix("\r") for line in table_content(file).removesuffix("\n").split("\n")]
    elif suffix == ".parquet":
        texts = _of_parquet(file)
    elif suffix == ".csv":
        texts = _of_csv(file)
    else:
        columns, lines = tsv_lines(file) if suffix == ".tsv" else jsonl_lines(file)
        _refuse_columns(file, columns)
        texts = ["" if isinstance(cells, str) else _as_text(cells.get(TEXT_COLUMN)) for _, cells in lines]
    if not any(texts):
        raise DataError(got=f"{file.name} without a text.", allowed="one text in each row or line.", next_step="name another file.")
    return texts


def _of_csv(file: Path) -> list[str]:
    csv.field_size_limit(MOST_CELL_CHARACTERS)
    reader = csv.reader(io.StringIO(table_content(file), newline=""), strict=True)
    try:
        columns = next(reader, [])
        _refuse_columns(file, columns)
        place = columns.index(TEXT_COLUMN)
        return [cells[place] if place < len(cells) else "" for cells in reader if cells]
    except csv.Error as error:
        raise DataError(
            got=f"{file.name}, which does not parse as CSV: {error}.",
            allowed="comma-separated cells, quoted with double quotes where they hold a comma.",
            next_step="correct the line, or export the table again.",
        ) from error


def _of_parquet(file: Path) -> list[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        _refuse_columns(file, pq.read_schema(file).names)
        cells = pq.read_table(file, columns=[TEXT_COLUMN])[TEXT_COLUMN].to_pylist()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(
            got=f"{file.name}, which is no readable Parquet file: {type(error).__name__}.",
            allowed="a whole Parquet file.",
            next_step="export the table again, or as CSV in UTF-8.",
        ) from error
    return [_as_text(cell) for cell in cells]


def _as_text(cell: object) -> str:
    return cell if isinstance(cell, str) else ""


def _refuse_columns(file: Path, columns: Sequence[str]) -> None:
    if list(columns).count(TEXT_COLUMN) != 1:
        raise DataError(
            got=f"{file.name} whose columns are {', '.join(map(repr, columns)) or 'none'}.",
            allowed=f"the column {TEXT_COLUMN}, once; others are not looked at.",
            next_step="rename the column that holds the texts, or give the texts as lines of a .txt file.",
        )
