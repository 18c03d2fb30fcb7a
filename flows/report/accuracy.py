"""Accuracy by domain, by label and by slice, the champion's on the same samples beside it; and what is confused with what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flows.records import Accuracy
from pipelines.answers import TestAnswers
from pipelines.core.label_sets import members_of
from pipelines.intervals import clopper_pearson

# A column with a value for every sample would fill the page.
MAX_ROWS = 30
MAX_CONFUSION_LABELS = 20
MAX_CONFUSED_PAIRS = 15


@dataclass(frozen=True)
class SliceRow:
    """Test samples with one value in one column.

    Attributes:
        champion: Of the same samples; None where there is no champion to compare with.
    """

    value: str
    candidate: Accuracy
    champion: Accuracy | None


@dataclass(frozen=True)
class SliceTable:
    """One column: the samples' domain, label or slice.

    Attributes:
        rows: Of a column with more than `MAX_ROWS` values the least accurate.
        n_values: All.
    """

    column: str
    rows: tuple[SliceRow, ...]
    n_values: int


@dataclass(frozen=True)
class Confusion:
    """What true labels were taken for.

    Attributes:
        labels: Those of the matrix; empty where there are too many to be shown.
        counts: By true label, then by predicted one.
        pairs: True label, predicted label and count of the most frequent mistakes.
    """

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    pairs: tuple[tuple[str, str, int], ...]

    @property
    def largest_mistake(self) -> int:
        """The highest count off the diagonal, at least 1."""
        return max((count for _, _, count in self.pairs), default=1)


def proportion(n_hits: int, n: int) -> Accuracy:
    """With its 95 % Clopper-Pearson interval; n is at least 1."""
    interval = clopper_pearson(n_hits, n)
    return Accuracy(value=interval.value, low=interval.low, high=interval.high, n=interval.n)


def slice_tables(candidate: TestAnswers, champion: TestAnswers | None) -> list[SliceTable]:
    """All samples, then by domain, by label, and by every column of `data.slices`."""
    theirs = None if champion is None else _aligned(candidate, champion)
    columns: dict[str, list[tuple[str, NDArray[np.bool_]]]] = {
        "all test samples": [("all", np.ones(candidate.n, dtype=np.bool_))],
        "domain": _by_value(candidate.domains),
        "label": _by_label(candidate),
    }
    columns |= {name: _by_value(values, "(none)") for name, values in candidate.slices.items()}
    return [_table(name, members, candidate.correct, theirs) for name, members in columns.items()]


def _table(
    column: str, members: Sequence[tuple[str, NDArray[np.bool_]]], correct: NDArray[np.bool_], theirs: NDArray[np.bool_] | None
) -> SliceTable:
    rows = [
        SliceRow(value, _share(correct, chosen), None if theirs is None else _share(theirs, chosen))
        for value, chosen in members
        if chosen.any()
    ]
    shown = rows if len(rows) <= MAX_ROWS else sorted(rows, key=lambda row: (row.candidate.value, row.value))[:MAX_ROWS]
    return SliceTable(column, tuple(shown), len(rows))


def _share(correct: NDArray[np.bool_], chosen: NDArray[np.bool_]) -> Accuracy:
    return proportion(int(correct[chosen].sum()), int(chosen.sum()))


def _by_value(values: NDArray[np.str_], empty: str = "") -> list[tuple[str, NDArray[np.bool_]]]:
    return [(str(value) or empty, np.asarray(values == value)) for value in np.unique(values)]


def _by_label(answers: TestAnswers) -> list[tuple[str, NDArray[np.bool_]]]:
    if answers.labels_per_sample == "one":
        return _by_value(answers.labels)
    sets = [frozenset(members_of(text)) for text in answers.labels.tolist()]
    names = sorted(set().union(*sets))
    return [(name, np.array([name in members for members in sets])) for name in names]


def _aligned(candidate: TestAnswers, champion: TestAnswers) -> NDArray[np.bool_] | None:
    """Whether the champion is right, in the candidate's order; nothing where it was judged on other samples."""
    right: Mapping[str, bool] = dict(zip(champion.ids.tolist(), champion.correct.tolist(), strict=True))
    if set(right) != set(candidate.ids.tolist()):
        return None
    return np.array([right[identity] for identity in candidate.ids.tolist()])


def confusion(answers: TestAnswers, label_names: Sequence[str]) -> Confusion | None:
    """Counts of true and predicted labels; nothing where a sample has any number of labels.

    Args:
        answers: Of the candidate.
        label_names: In the order of the model's outputs; labels that only the samples have come after them.
    """
    if answers.labels_per_sample == "many":
        return None
    names = list(dict.fromkeys([*label_names, *sorted(set(answers.labels.tolist()))]))
    place = {name: number for number, name in enumerate(names)}
    counts = np.zeros((len(names), len(names)), dtype=np.int64)
    np.add.at(counts, ([place[label] for label in answers.labels.tolist()], [place[label] for label in answers.predicted.tolist()]), 1)
    mistakes = counts - np.diag(np.diag(counts))
    order = np.argsort(-mistakes, axis=None, kind="stable")[:MAX_CONFUSED_PAIRS]
    cells = [divmod(int(cell), len(names)) for cell in order]
    pairs = tuple((names[true], names[said], int(mistakes[true, said])) for true, said in cells if mistakes[true, said])
    if len(names) > MAX_CONFUSION_LABELS:
        return Confusion((), (), pairs)
    return Confusion(tuple(names), tuple(tuple(row) for row in counts.tolist()), pairs)
