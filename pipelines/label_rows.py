"""What a row of a labels table must satisfy, wherever the table comes from."""

from __future__ import annotations

import datetime
import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from pipelines.core.label_sets import SEPARATOR, LabelsPerSample, members_of, set_text
from pipelines.dataset import SPLITS
from pipelines.input_files import normal_path
from pipelines.labels_table import LabelRow

ProblemKind = Literal["row", "file", "label", "split", "twin", "note"]


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a dataset.

    Attributes:
        where: A path relative to `data/`, or a row of the labels table.
        problem: What is wrong, in a few words.
        kind: What it concerns. `row` and `file`: the row or its file is no use as it is; `label`, `split` and `twin` can also be seen
            in samples.csv and images.csv; `note` is nothing wrong, but something to know of.
    """

    where: str
    problem: str
    kind: ProblemKind


def usable_rows(rows: Sequence[LabelRow]) -> tuple[list[LabelRow], list[Problem]]:
    """The rows that name a file of their own, each arrival as `day_of` writes it, and what is wrong with rows."""
    usable: list[LabelRow] = []
    problems: list[Problem] = []
    first_place: dict[str, str] = {}
    for row in rows:
        path = normal_path(row.path)
        fault = _row_fault(row) or (f"the path {path} is listed already ({first_place[path]})" if path in first_place else "")
        if fault:
            problems.append(Problem(row.where, fault, "row"))
            continue
        first_place[path] = row.where
        day = day_of(row.arrival) if row.arrival else ""
        usable.append(row if day is None else replace(row, arrival=day))
        if day is None:
            problems.append(Problem(path, f"the arrival {row.arrival!r} is no ISO 8601 date, for example 2026-11-20", "row"))
    return usable, problems


def day_of(arrival: str) -> str | None:
    """The one way to write the day of an arrival, YYYY-MM-DD, so that days can be compared as they are written.

    Args:
        arrival: A date or a time, in any form of ISO 8601 that Python reads: `20261120`, `2026-W47-5`, `2026-11-20T23:30:00-05:00`. A time
            with an offset is of the day in UTC, which the request log's are of.

    Returns:
        Nothing where it is none.
    """
    try:
        moment = datetime.datetime.fromisoformat(arrival)
        return (moment.astimezone(datetime.UTC) if moment.tzinfo else moment).date().isoformat()
    # In UTC a time in the first hours of the year 1, or in the last ones of 9999, may have no date.
    except (ValueError, OverflowError):
        return None


def read_label(text: str, labels: Sequence[str], labels_per_sample: LabelsPerSample) -> tuple[str, str]:
    """A sample's label, and what is wrong with it.

    Args:
        text: As somebody has written it.
        labels: The project's.
        labels_per_sample: `many`: names with | between them, in any order, with blanks around them or without; none at all is a set, too.

    Returns:
        The label: a set in its one form (see `pipelines.core.label_sets`). The text itself, and a problem, where it is none.
    """
    if labels_per_sample == "one":
        return text, "" if text in labels else label_problem(text, labels)
    problem = set_problem(text) or "; ".join(label_problem(name, labels) for name in members_of(text) if name not in labels)
    return (text, problem) if problem else (set_text(members_of(text), labels), "")


def set_problem(text: str) -> str:
    """What is wrong with the text of a set, whichever labels there are; empty where nothing is."""
    members = members_of(text)
    if not all(members):
        return f"the label {text!r} has no name on one side of a {SEPARATOR}"
    twice = sorted({name for name in members if members.count(name) > 1})
    return f"the label {text!r} names {twice[0]!r} twice" if twice else ""


def with_read_labels(
    rows: Sequence[LabelRow], labels: Sequence[str], labels_per_sample: LabelsPerSample
) -> tuple[list[LabelRow], list[Problem]]:
    """The rows with their labels as `read_label` gives them, and what is wrong with labels."""
    # Once a text: a table may hold a million rows, and the nearest label of a wrong one is searched for.
    read = {text: read_label(text, labels, labels_per_sample) for text in {row.label for row in rows}}
    problems = [Problem(normal_path(row.path), read[row.label][1], "label") for row in rows if read[row.label][1]]
    return [replace(row, label=read[row.label][0]) for row in rows], problems


def label_problem(label: str, labels: Sequence[str]) -> str:
    """Says what is wrong with a label that is not one of `labels`."""
    if not label:
        return "the label is empty"
    by_folded = {known.casefold(): known for known in labels}
    nearest = [by_folded[folded] for folded in difflib.get_close_matches(label.strip().casefold(), by_folded, n=1, cutoff=0.7)]
    return f"the label {label!r} is not in the conf file's labels" + (f" (did you mean {nearest[0]!r}?)" if nearest else "")


def split_problems(rows: Sequence[LabelRow]) -> list[Problem]:
    """Rows whose split is no split."""
    allowed = ", ".join(SPLITS)
    wrong = [row for row in rows if row.split and row.split not in SPLITS]
    return [Problem(normal_path(row.path), f"the split {row.split!r} is none of {allowed} or empty", "split") for row in wrong]


def has_control_character(text: str) -> bool:
    """Whether the text holds a character, a line break for one, that would not survive the way through files and file systems."""
    return any(ord(character) < 32 for character in text)


def _row_fault(row: LabelRow) -> str:
    if not row.path:
        return "the path is empty"
    cells = (row.path, row.label, row.group, row.domain, row.arrival, row.split, *(cell for _, cell in row.slices))
    odd = next((cell for cell in cells if has_control_character(cell)), None)
    return "" if odd is None else f"{odd!r} holds a control character"
