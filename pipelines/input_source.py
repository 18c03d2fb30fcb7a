"""A folder or a table of inputs without labels, as somebody names it for the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.core.errors import ConfigurationError, DataError
from pipelines.image_files import IMAGE_SUFFIXES
from pipelines.input_files import Unusable, read_file
from pipelines.modalities.audio_inputs import AUDIO_SUFFIXES
from pipelines.table_files import csv_lines, parquet_columns, parquet_records
from pipelines.text_rows import TEXT_COLUMN, text_bytes
from pipelines.text_tables import TEXT_TABLE_SUFFIXES, read_text_table


@dataclass(frozen=True)
class _Kind:
    """What a task takes.

    Attributes:
        noun: Of one input.
        suffixes: Of files in a folder.
        tables: Endings of tables.
        column: Of a table: names of files, or the texts themselves.
    """

    noun: str
    suffixes: tuple[str, ...]
    tables: tuple[str, ...] = (".csv", ".parquet")
    column: str = "path"


# By task.
_KINDS: Mapping[str, _Kind] = {
    "image": _Kind("image", IMAGE_SUFFIXES),
    "text": _Kind("text", (".txt",), TEXT_TABLE_SUFFIXES, TEXT_COLUMN),
    "audio": _Kind("sound", AUDIO_SUFFIXES),
}


@dataclass(frozen=True)
class OneInput:
    """One input: a file, a text, or a row of a table that is neither.

    Attributes:
        path: Of the file, relative to the source; of a text see `pipelines.text_rows`; where a row names none, which row it is.
        text: That stands in a table.
        problem: Why there is no input; empty where there is one.
    """

    path: str
    text: str | None = None
    problem: str = ""


@dataclass(frozen=True)
class FoundInputs:
    """All inputs of a source, in a fixed order, and what their paths are relative to."""

    root: Path
    inputs: list[OneInput]


def find_inputs(source: Path, task: str) -> FoundInputs:
    """The inputs of a folder or a table.

    Args:
        source: A folder, searched with its subfolders for what the task takes: images, sounds, or texts as `.txt` files. Or a table: CSV
            or Parquet with the column `path`, relative to the table's folder; of texts CSV, TSV, Parquet or JSONL with `text`.
        task: What the inputs are.

    Raises:
        ConfigurationError: No such source.
        DataError: The source names no input, or the table cannot be read or has no such column.
    """
    kind = _KINDS[task]
    if source.is_dir():
        files = sorted(path for path in source.rglob("*") if path.suffix.lower() in kind.suffixes and path.is_file())
        found = FoundInputs(source, [OneInput(path.relative_to(source).as_posix()) for path in files])
    elif source.is_file() and source.suffix.lower() in kind.tables:
        found = FoundInputs(source.parent, _of_table(source, kind))
    else:
        raise ConfigurationError(
            got=f"no folder and no table at {source}.",
            allowed=f"a folder of {kind.noun}s, or a table ({', '.join(kind.tables)}) with the column {kind.column}.",
            next_step="correct the path.",
        )
    if not found.inputs:
        raise DataError(
            got=f"{source}, which names no {kind.noun}.",
            allowed=f"at least one: {', '.join(kind.suffixes)}.",
            next_step=f"name the folder that holds the {kind.noun}s, or a table with the column {kind.column}.",
        )
    return found


def read_input(root: Path, one: OneInput) -> bytes | str:
    """The bytes of an input, or what is wrong with it: a table may name places out of its folder, or what is no file."""
    if one.problem or one.text is not None:
        return one.problem or text_bytes(one.text or "")
    content = read_file(root, one.path, links_may_leave=True)
    return content.problem if isinstance(content, Unusable) else content


def _of_table(table: Path, kind: _Kind) -> list[OneInput]:
    if kind.column != TEXT_COLUMN:
        return _paths_of_table(table)
    content = read_text_table(table, holds="unlabelled texts")
    unread = [OneInput(finding.where, problem=finding.problem) for finding in content.findings]
    return [*(OneInput(row.path, row.text) for row in content.rows), *unread]


def _paths_of_table(table: Path) -> list[OneInput]:
    if table.suffix.lower() == ".csv":
        columns, lines = csv_lines(table)
        _refuse_columns(table, columns)
        return [_named(cells, f"{table.name} line {number}") for number, cells in lines]
    _refuse_columns(table, parquet_columns(table))
    return [_named(cells, f"{table.name} row {number}") for number, cells in enumerate(parquet_records(table, ["path"]), start=1)]


def _refuse_columns(table: Path, columns: Sequence[str]) -> None:
    if columns.count("path") != 1:
        raise DataError(
            got=f"the table {table} with the columns {', '.join(columns)}.",
            allowed="a column named path, just one, with paths relative to the table's folder.",
            next_step="rename the column.",
        )


def _named(cells: Mapping[str, Any] | str, where: str) -> OneInput:
    if isinstance(cells, str):
        return OneInput(where, problem=cells)
    path = cells["path"]
    if isinstance(path, str) and path:
        return OneInput(path)
    return OneInput(where, problem="the path is empty" if path in (None, "") else f"the path is {path!r}, no text")
