"""Changes labels in a labels table, or takes rows out of it; every other row stays as it is, of a CSV file byte for byte."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pipelines.image_files import normal_path
from pipelines.labels_append import BYTE_ORDER_MARK, csv_line

# The new label by path; None takes the row out.
Changes = Mapping[str, str | None]


def edited_table(table: Path, changes: Changes) -> bytes:
    """The content of the table after the changes; nothing is written.

    Args:
        table: `.csv` or `.parquet`, as `read_labels_table` reads it.
        changes: By the path as `normal_path` writes it.
    """
    return _edited_parquet(table, changes) if table.suffix.lower() == ".parquet" else _edited_csv(table.read_bytes(), changes)


def _edited_csv(content: bytes, changes: Changes) -> bytes:
    mark = BYTE_ORDER_MARK if content.startswith(BYTE_ORDER_MARK) else b""
    records = _csv_records(content.decode("utf-8-sig"))
    header, columns = next(records)
    path, label = columns.index("path"), columns.index("label")
    kept = [header]
    for text, cells in records:
        # A row that cannot be read as the header says is not ours to touch.
        name = normal_path(cells[path]) if len(cells) == len(columns) else ""
        if name not in changes:
            kept.append(text)
        elif (new := changes[name]) is not None:
            end = text[len(text.rstrip("\r\n")) :]
            kept.append(csv_line([*cells[:label], new, *cells[label + 1 :]]) + end)
    return mark + "".join(kept).encode()


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


def _edited_parquet(table: Path, changes: Changes) -> bytes:
    import pyarrow
    import pyarrow.parquet

    content = pyarrow.parquet.ParquetFile(table).read()
    names = [normal_path(str(path)) for path in content.column("path").to_pylist()]
    column = content.column("label")
    labels = [changes.get(name) or label for name, label in zip(names, column.cast(pyarrow.string()).to_pylist(), strict=True)]
    # A team's labels may be numbers or categories there: the new ones take the column's own type.
    new = pyarrow.array(labels, pyarrow.string()).cast(column.type)
    edited = content.set_column(content.column_names.index("label"), content.schema.field("label"), new)
    is_kept = pyarrow.array([name not in changes or changes[name] is not None for name in names])
    sink = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(edited.filter(is_kept), sink)
    return bytes(sink.getvalue())
