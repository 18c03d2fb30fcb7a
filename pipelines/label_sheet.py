"""The CSV form of what is handed out to be labelled, and of what could not be taken: one line an input, the label to be filled in."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.core.errors import DataError
from pipelines.core.label_sets import LabelsPerSample
from pipelines.label_answers import Answer
from pipelines.label_tasks import LabelTask
from pipelines.labels_append import csv_line
from pipelines.text_rows import TEXT_COLUMN

COLUMNS = ("id", "path", "predicted", "confidence", "picked_by", "label")
REASON = "reason"
# An empty cell says that there is no label yet, so the set without a member needs a sign of its own.
NO_MEMBER = "-"
_NEEDED = ("id", "label")
# A cell of a spreadsheet holds 32,767 characters; the file has the whole text.
_MOST_SHOWN_CHARACTERS = 32_000
# What spreadsheets take for the beginning of a formula, and anybody may send texts:
# https://owasp.org/www-community/attacks/CSV_Injection
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


@dataclass(frozen=True)
class Line:
    """One input of a sheet.

    Attributes:
        task: None where the id is none that was handed out.
        request_id: Of the input.
        label: Empty, or as a person gave it.
        reason: Why it was not taken; empty in a sheet that is handed out.
        is_empty_set: Whether an empty label is a person's answer, the set without a member, and not one that is missing.
    """

    task: LabelTask | None
    request_id: str
    label: str = ""
    reason: str = ""
    is_empty_set: bool = False


def as_sheet(lines: Iterable[Line], with_reasons: bool = False, texts: Mapping[str, str] | None = None) -> bytes:
    """The CSV file, UTF-8, as `read_sheet` reads it: the empty set is written as `-`.

    Args:
        lines: In their order.
        with_reasons: Whether a column says why they were not taken.
        texts: By the sha256 of their bytes, where inputs are texts: a column shows them. It is for people; nothing reads it.
    """
    rows = [[*COLUMNS[:2], *([] if texts is None else [TEXT_COLUMN]), *COLUMNS[2:], *([REASON] if with_reasons else [])]]
    for line in lines:
        task = line.task
        about = [task.predicted, f"{task.confidence:.4f}", task.picked_by] if task else ["", "", ""]
        shown = [] if texts is None else [_shown(texts.get(task.sha256, "")) if task else ""]
        label = NO_MEMBER if line.is_empty_set else line.label
        rows.append([line.request_id, task.path if task else "", *shown, *about, label, *([line.reason] if with_reasons else [])])
    return "".join(f"{csv_line(row)}\n" for row in rows).encode()


def _shown(text: str) -> str:
    """The text as a cell that no spreadsheet takes for a formula or cuts off unseen."""
    cut = text if len(text) <= _MOST_SHOWN_CHARACTERS else f"{text[:_MOST_SHOWN_CHARACTERS]} …"
    return f"'{cut}" if cut.lstrip(" ").startswith(_FORMULA_STARTS) else cut


def read_sheet(file: Path, labels: Sequence[str], labels_per_sample: LabelsPerSample) -> list[Answer]:
    """The labels of a sheet.

    Args:
        file: With the columns id and label; others are passed over.
        labels: Of the project.
        labels_per_sample: With `many` a cell that holds `-` alone is the empty set.

    Raises:
        DataError: It is no such table.
    """
    columns, lines = _read(file)
    found: list[Answer] = []
    for number, cells in lines:
        where = f"{file.name} line {number}"
        if len(cells) != len(columns):
            raise _no_sheet(f"{where} with {len(cells)} cells under a header of {len(columns)}.")
        row = dict(zip(columns, cells, strict=True))
        label = row["label"].strip()
        if labels_per_sample == "many" and label == NO_MEMBER and NO_MEMBER not in labels:
            found.append(Answer(where, row["id"].strip(), ""))
        else:
            found.append(Answer(where, row["id"].strip(), label, problem="" if label else "has no label yet"))
    return found


def _read(file: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    try:
        reader = csv.reader(io.StringIO(file.read_bytes().decode("utf-8-sig"), newline=""), strict=True)
        rows = [(reader.line_num, cells) for cells in reader if cells]
    except (UnicodeDecodeError, csv.Error) as error:
        raise _no_sheet(f"{file.name}, which does not read as CSV in UTF-8: {error}.") from error
    columns = rows[0][1] if rows else []
    if any(columns.count(column) != 1 for column in _NEEDED):
        raise _no_sheet(f"{file.name} with the columns {', '.join(map(repr, columns)) or 'of no header'}.")
    return columns, rows[1:]


def _no_sheet(got: str) -> DataError:
    return DataError(
        got=got,
        allowed="a CSV file with commas between cells and the columns id and label, each once, as `regraft labels next` writes it.",
        next_step="fill in the column label of a copy of tasks.csv, and save it as CSV in UTF-8; nothing was taken.",
    )
