"""The CSV form of what is handed out to be labelled, and of what could not be taken: one line an input, the label to be filled in."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.core.errors import DataError
from pipelines.core.label_sets import LabelsPerSample
from pipelines.label_answers import Answer
from pipelines.label_tasks import LabelTask

COLUMNS = ("id", "path", "predicted", "confidence", "picked_by", "label")
REASON = "reason"
# An empty cell says that there is no label yet, so the set without a member needs a sign of its own.
NO_MEMBER = "-"
_NEEDED = ("id", "label")


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


def as_sheet(lines: Iterable[Line], with_reasons: bool = False) -> bytes:
    """The CSV file, UTF-8, as `read_sheet` reads it: the empty set is written as `-`."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*COLUMNS, *([REASON] if with_reasons else [])])
    for line in lines:
        task = line.task
        about = [task.path, task.predicted, f"{task.confidence:.4f}", task.picked_by] if task else ["", "", "", ""]
        label = NO_MEMBER if line.is_empty_set else line.label
        writer.writerow([line.request_id, *about, label, *([line.reason] if with_reasons else [])])
    return text.getvalue().encode()


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
