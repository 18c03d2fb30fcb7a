"""Changes labels in a labels table, or takes rows out of it; every other row stays as it is, of a CSV file byte for byte."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pipelines.input_files import normal_path
from pipelines.labels_append import BYTE_ORDER_MARK, csv_line
from pipelines.text_rows import TEXT_COLUMN, text_paths

# The new label by path; None takes the row out.
Changes = Mapping[str, str | None]


def edited_table(table: Path, changes: Changes, name: str = "") -> bytes:
    """The content of the table after the changes; nothing is written.

    Args:
        table: `.csv` or `.parquet`, as `read_labels_table` reads it.
        changes: By the path as `normal_path` writes it, or as a text has it.
        name: Of the table relative to `data/`; its file name where nothing is said.
    """
    known_as = name or table.name
    if table.suffix.lower() == ".parquet":
        return _edited_parquet(table, changes, known_as)
    return _edited_csv(table.read_bytes(), changes, known_as)


def _edited_csv(content: bytes, changes: Changes, table: str) -> bytes:
    mark = BYTE_ORDER_MARK if content.startswith(BYTE_ORDER_MARK) else b""
    (header, columns), *records = _csv_records(content.decode("utf-8-sig"))
    label = columns.index("label")
    # A row that cannot be read as the header says is not ours to touch.
    whole = [cells if len(cells) == len(columns) else None for _, cells in records]
    names = _paths(columns, whole, table)
    kept = [header]
    for (text, cells), name in zip(records, names, strict=True):
        if name not in changes:
            kept.append(text)
        elif (new := changes[name]) is not None:
            end = text[len(text.rstrip("\r\n")) :]
            kept.append(csv_line([*cells[:label], new, *cells[label + 1 :]]) + end)
    return mark + "".join(kept).encode()


def _paths(columns: Sequence[str], rows: Sequence[Sequence[str] | None], table: str) -> list[str]:
    """The path of each row, empty where it cannot be read; in a table of texts as `read_labels_table` makes it."""
    if "path" in columns:
        place = columns.index("path")
        return ["" if cells is None else normal_path(cells[place]) for cells in rows]
    place = columns.index(TEXT_COLUMN)
    found = iter(text_paths([cells[place] for cells in rows if cells is not None], table))
    return ["" if cells is None else next(found) for cells in rows]


def _csv_records(text: str) -> Iterator[tuple[str, Sequence[str]]]:
    """Each record as it stands, with its cells; empty lines belong to the record before them."""
    lines = list(io.StringIO(text, newline=""))
    reader = csv.reader(lines, strict=True)
    start, record = 0, None
    for cells in reader:
        standing = "".join(lines[start : reader.line_num])
        start = reader.line_num
        if record is None or cells:
            if record is not None:
                yield record
            record = standing, cells
        else:
            record = record[0] + standing, record[1]
    if record is not None:
        yield record


def _edited_parquet(table: Path, changes: Changes, known_as: str) -> bytes:
    import pyarrow
    import pyarrow.parquet

    content = pyarrow.parquet.ParquetFile(table).read()
    first = "path" if "path" in content.column_names else TEXT_COLUMN
    names = _paths([first], [["" if cell is None else str(cell)] for cell in content.column(first).to_pylist()], known_as)
    column = content.column("label")
    rows = zip(names, column.cast(pyarrow.string()).to_pylist(), strict=True)
    # An empty text is a label, too: the set without a member.
    labels = [label if (given := changes.get(name)) is None else given for name, label in rows]
    # A team's labels may be numbers or categories there: the new ones take the column's own type.
    new = pyarrow.array(labels, pyarrow.string()).cast(column.type)
    edited = content.set_column(content.column_names.index("label"), content.schema.field("label"), new)
    is_kept = pyarrow.array([name not in changes or changes[name] is not None for name in names])
    sink = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(edited.filter(is_kept), sink)
    return bytes(sink.getvalue())
