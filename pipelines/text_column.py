"""Texts without labels from a file that a user names: the column `text` of a table, or lines. No other column is looked at."""

from __future__ import annotations

from pathlib import Path

from pipelines.core.errors import DataError
from pipelines.table_files import file_text
from pipelines.text_tables import TEXT_TABLE_SUFFIXES, read_text_table

_LINES = ".txt"
TEXT_FILE_SUFFIXES = (*TEXT_TABLE_SUFFIXES, _LINES)


def read_text_column(file: Path) -> list[str]:
    """The texts of a file in its order, and at the end an empty one for each row that cannot be read.

    Args:
        file: A table with the column `text`, as `read_text_table` reads it; of `.txt` each line is a text.

    Raises:
        DataError: No such file, another format, damaged, not UTF-8, no column `text` or two of them, or no text.
    """
    suffix = file.suffix.lower()
    if not file.is_file() or suffix not in TEXT_FILE_SUFFIXES:
        raise DataError(
            got=f"--texts {file}, {'a file of another kind' if file.is_file() else 'which is no file'}.",
            allowed=f"a file that ends in {', '.join(TEXT_FILE_SUFFIXES)}.",
            next_step="correct the path, or export the texts as CSV in UTF-8 with the column text.",
        )
    texts = _lines(file) if suffix == _LINES else _cells(file)
    if not any(texts):
        raise DataError(got=f"{file.name} without a text.", allowed="one text in each row or line.", next_step="name another file.")
    return texts


def _lines(file: Path) -> list[str]:
    # Not `splitlines`, which breaks a line at U+2028 and its like.
    return [line.removesuffix("\r") for line in file_text(file).removesuffix("\n").split("\n")]


def _cells(table: Path) -> list[str]:
    content = read_text_table(table, holds="unlabelled texts")
    return [*(row.text for row in content.rows), *[""] * len(content.findings)]
