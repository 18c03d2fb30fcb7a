"""Adds rows to a labels table in one step; what is there stays as it is, byte for byte where no column has to be added."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipelines.dataset import DEFAULT_DOMAIN
from pipelines.labels_table import COLUMNS, OPTIONAL_COLUMNS
from pipelines.staging import replace_file

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
Row = Mapping[str, str]


def append_rows(table: Path, columns: Sequence[str], rows: Sequence[Row], staging: Path) -> None:
    """Adds rows, and the columns that they need and the table lacks, to a table that `read_labels_table` reads.

    Args:
        table: `.csv` or `.parquet`.
        columns: Of the table, in its order.
        rows: Cells by column; a column that a row does not name stays empty.
        staging: Folder outside of the data, on the same file system: for the new table until it is whole.
    """
    further = dict.fromkeys(column for row in rows for column in row if column not in COLUMNS)
    known = (*OPTIONAL_COLUMNS, *further)
    new_columns = [column for column in known if column not in columns and any(_says_something(column, row) for row in rows)]
    if table.suffix.lower() == ".parquet":
        content = _longer_parquet(table, columns, new_columns, rows)
    else:
        content = _longer_csv(table.read_bytes(), [*columns, *new_columns], len(new_columns), rows)
    replace_file(table, content, staging)


def _says_something(column: str, row: Row) -> bool:
    value = row.get(column, "")
    return bool(value) and not (column == "domain" and value == DEFAULT_DOMAIN)


def _longer_csv(content: bytes, columns: Sequence[str], n_new_columns: int, rows: Sequence[Row]) -> bytes:
    terminator = "\r\n" if b"\r\n" in content.split(b"\n", 1)[0] + b"\n" else "\n"
    if n_new_columns:
        content = _wider_csv(content, columns[-n_new_columns:], terminator)
    elif not content.endswith(b"\n"):
        content += terminator.encode()
    return content + _as_csv([[row.get(column, "") for column in columns] for row in rows], terminator)


def _wider_csv(content: bytes, new_columns: Sequence[str], terminator: str) -> bytes:
    mark = BYTE_ORDER_MARK if content.startswith(BYTE_ORDER_MARK) else b""
    lines = [cells for cells in csv.reader(io.StringIO(content.decode("utf-8-sig"), newline="")) if cells]
    wider = [lines[0] + list(new_columns), *(cells + [""] * len(new_columns) for cells in lines[1:])]
    return mark + _as_csv(wider, terminator)


def _as_csv(lines: Sequence[Sequence[str]], terminator: str) -> bytes:
    return "".join(csv_line(cells) + terminator for cells in lines).encode()


def csv_line(cells: Sequence[str]) -> str:
    """One row of a CSV file, without its line end."""
    # The writer puts quotes around a carriage return only if its own line ends hold one.
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerow(cells)
    return text.getvalue().removesuffix("\r\n")


def _longer_parquet(table: Path, columns: Sequence[str], new_columns: Sequence[str], rows: Sequence[Row]) -> bytes:
    import pyarrow
    import pyarrow.parquet

    content = pyarrow.parquet.ParquetFile(table).read()
    for column in new_columns:
        content = content.append_column(column, pyarrow.nulls(content.num_rows, pyarrow.string()))
    cells = [[row.get(column) or None for row in rows] for column in [*columns, *new_columns]]
    types = content.schema.types
    # A team's labels may be numbers or categories there: the new cells take the column's own type.
    arrays = [pyarrow.array(values, pyarrow.string()).cast(kind) for values, kind in zip(cells, types, strict=True)]
    longer = pyarrow.concat_tables([content, pyarrow.Table.from_arrays(arrays, schema=content.schema)])
    sink = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(longer, sink)
    return bytes(sink.getvalue())
