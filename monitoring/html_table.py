"""Tables of the drift report, in HTML without scripts."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape


def html_table(title: str, columns: list[str], rows: list[list[str]], marks: Iterable[bool] = (), note: str = "") -> str:
    """A heading, a table and a note. Every text is escaped.

    Args:
        title: The heading.
        columns: Names.
        rows: Cells, as many as columns.
        marks: Whether each row is marked; rows without one are not.
        note: Below the table.
    """
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    flags = [*marks, *[False] * len(rows)]
    body = "".join(_row(row, moved) for row, moved in zip(rows, flags, strict=False))
    return f'<h2>{escape(title)}</h2><table><tr>{head}</tr>{body}</table><p class="note">{escape(note)}</p>'


def _row(cells: list[str], moved: bool) -> str:
    opening = '<tr class="moved">' if moved else "<tr>"
    return opening + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"
