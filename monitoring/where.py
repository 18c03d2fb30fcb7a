"""Who moved, and by how much: descriptions beside the tests, no decisions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from monitoring.reference import Reference
from monitoring.signals.distribution import as_logged
from monitoring.signals.result import SignalResult
from monitoring.window import Window


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class NumberMove(_Row):
    """One number a request: an input statistic, the confidence, or the embedding's distance to the reference's mean.

    Attributes:
        name: Of its signal.
        effect: Cliff's delta in [-1, 1]: share of pairs in which the window's value is larger, minus the share in which it is smaller.
        drifted: Whether its test said so.
    """

    name: str
    reference_median: float
    window_median: float
    effect: float
    drifted: bool


class ClassMove(_Row):
    """Share of the answers that named a label, before and now; where an answer names any number of labels these sum to any number."""

    label: str
    reference_frac: float
    window_frac: float


class DomainCount(_Row):
    """Requests of one domain, as the clients stated it.

    Attributes:
        domain: Empty where a client stated none.
        is_new: Whether none of the samples that trained the bundle came from it; None where that is unknown.
        n_labelled, n_errors: Requests with feedback, and those of them that were answered wrongly.
    """

    domain: str
    n_requests: int
    is_new: bool | None
    mean_confidence: float
    n_labelled: int
    n_errors: int


class Where(_Row):
    """All three, the largest move first."""

    numbers: tuple[NumberMove, ...]
    classes: tuple[ClassMove, ...]
    domains: tuple[DomainCount, ...]


def where(window: Window, reference: Reference, signals: Sequence[SignalResult]) -> Where:
    """Describes how the window differs from the reference."""
    return Where(
        numbers=_number_moves(window, reference, signals),
        classes=_class_moves(window, reference),
        domains=_domain_counts(window, reference),
    )


def cliffs_delta(reference: NDArray[np.float64], window: NDArray[np.float64]) -> float:
    """Share of pairs with the window's value larger, minus the share with it smaller, compared to 5 significant digits."""
    ordered, values = np.sort(as_logged(reference)), as_logged(window)
    below, not_above = np.searchsorted(ordered, values, side="left"), np.searchsorted(ordered, values, side="right")
    return float((below + not_above - len(ordered)).mean() / len(ordered))


def embedding_distances(window: Window, reference: Reference) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distance of each embedding to the reference's mean, in units of the reference's median distance.

    A picture of the embedding test, not the test: a shift can leave all distances as they were.

    Returns:
        [n] of the reference (its median is 1) and [m] of the window.
    """
    centre = reference.embeddings.mean(axis=0)
    before, now = (np.linalg.norm(embeddings - centre, axis=1) for embeddings in (reference.embeddings, window.embeddings))
    unit = float(np.median(before)) or 1.0
    return before / unit, now / unit


def _number_moves(window: Window, reference: Reference, signals: Sequence[SignalResult]) -> tuple[NumberMove, ...]:
    names = reference.statistic_names
    columns = {name: (reference.statistics[:, index], window.statistics[:, index]) for index, name in enumerate(names)}
    columns["confidence"] = (reference.confidences, window.confidences)
    columns["embedding"] = embedding_distances(window, reference)
    drifted = {signal.name for signal in signals if signal.drifted}
    moves = [
        NumberMove(
            name=name,
            reference_median=float(np.median(before)),
            window_median=float(np.median(now)),
            effect=cliffs_delta(before, now),
            drifted=name in drifted,
        )
        for name, (before, now) in columns.items()
    ]
    return tuple(sorted(moves, key=lambda move: (not move.drifted, -abs(move.effect), move.name)))


def _class_moves(window: Window, reference: Reference) -> tuple[ClassMove, ...]:
    before, now = reference.predicted.mean(axis=0), window.predicted.mean(axis=0)
    moves = [
        ClassMove(label=label, reference_frac=float(was), window_frac=float(is_now))
        for label, was, is_now in zip(reference.labels, before, now, strict=True)
    ]
    return tuple(sorted(moves, key=lambda move: (-abs(move.window_frac - move.reference_frac), move.label)))


def _domain_counts(window: Window, reference: Reference) -> tuple[DomainCount, ...]:
    rows = []
    answers = window.answers
    for domain, n_requests in sorted(Counter(window.domains).items(), key=lambda item: (-item[1], item[0])):
        places = [index for index, name in enumerate(window.domains) if name == domain]
        labelled = [index for index in places if window.true_labels[index] is not None]
        rows.append(
            DomainCount(
                domain=domain,
                n_requests=n_requests,
                is_new=domain not in reference.domains if reference.domains is not None and domain else None,
                mean_confidence=float(window.confidences[places].mean()),
                n_labelled=len(labelled),
                n_errors=sum(window.true_labels[index] != answers[index] for index in labelled),
            )
        )
    return tuple(rows)
