"""Confident learning: samples whose given label a model that never saw them confidently contradicts.

Northcutt, Jiang and Chuang 2021, Confident Learning: Estimating Uncertainty in Dataset Labels, JAIR 70:1373
(https://doi.org/10.1613/jair.1.12125): the samples off the diagonal of the confident joint, ordered by their margin. A label counts as
possible where its probability is at least the mean probability of that label among the samples that were given it: one that the model
is unsure of everywhere needs less than one that it knows well. Of the possible labels the most probable one is the suggestion.

Letters for shapes: n samples, k labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class LabelDoubt:
    """A sample whose label is likely wrong.

    Attributes:
        place: Of the sample.
        suggested: Index of the label that fits.
        confidence: Its probability, in [0, 1].
        given_probability: Of the label that the sample was given.
    """

    place: int
    suggested: int
    confidence: float
    given_probability: float


def likely_label_errors(given: NDArray[np.int64], probabilities: NDArray[np.float64]) -> list[LabelDoubt]:
    """The samples off the diagonal of the confident joint, the surest first: those with the largest margin over the given label.

    Args:
        given: [n], indices of the labels.
        probabilities: [n, k], each row by a model that did not learn from that sample.
    """
    rows = np.arange(len(given))
    possible = probabilities >= confidence_thresholds(given, probabilities)
    suggested = np.where(possible, probabilities, -1.0).argmax(axis=1)
    doubted = np.flatnonzero(possible.any(axis=1) & (suggested != given))
    margins = probabilities[rows, suggested] - probabilities[rows, given]
    order = doubted[np.lexsort((doubted, -margins[doubted]))]
    return [
        LabelDoubt(
            int(place), int(suggested[place]), float(probabilities[place, suggested[place]]), float(probabilities[place, given[place]])
        )
        for place in order
    ]


def confidence_thresholds(given: NDArray[np.int64], probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean probability of each label among the samples that were given it, [k]; infinite for a label that none was given."""
    n_labels = probabilities.shape[1]
    counts = np.bincount(given, minlength=n_labels)
    sums = np.bincount(given, weights=probabilities[np.arange(len(given)), given], minlength=n_labels)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)
