"""From which probability on a sample is said to have a label, where it has any number of them.

Letters for shapes: n samples, k labels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

DEFAULT_THRESHOLD = 0.5
FEWEST_FOR_A_THRESHOLD = 10
_N_FOLDS = 5
_STANDARD_ERRORS = 1.645

Flags = NDArray[np.bool_]


def fit_thresholds(probabilities: NDArray[np.float64], targets: NDArray[Any], groups: NDArray[Any] | None = None) -> tuple[float, ...]:
    """For each label the threshold with the best F1, where it is shown to be worth more than 0.5.

    The best of many thresholds on few samples fits their noise (Lipton et al. 2014, https://arxiv.org/abs/1402.1892). So a label that
    fewer than 10 groups have, or fewer than 10 do not have, keeps 0.5; so does one whose thresholds, each chosen on four fifths of the
    groups, are not better than 0.5 on the other fifth by more than 1.645 standard errors of the difference of both F1. That is a level of
    about 5 % for each label, not for all of them together.

    Args:
        probabilities: [n, k], calibrated; the order of the groups must say nothing of them, as every fifth makes a fold.
        targets: [n, k] of 0 and 1.
        groups: [n], integers: samples of one group (frames of one film) are no independent evidence; nothing: each is its own.

    Returns:
        k numbers in (0, 1): 0.5, or half-way between two probabilities of the label, the one nearest to 0.5 of equals.
    """
    columns = zip(np.asarray(probabilities).T, np.asarray(targets).T > 0, strict=True)
    numbers = np.arange(len(targets)) if groups is None else _in_order_of_appearance(groups)
    return tuple(_threshold(values, has, numbers) for values, has in columns)


def _in_order_of_appearance(groups: NDArray[Any]) -> NDArray[np.int64]:
    _, first, places = np.unique(groups, return_index=True, return_inverse=True)
    return np.asarray(first.argsort().argsort()[places], dtype=np.int64)


def _threshold(probabilities: NDArray[np.float64], has: Flags, groups: NDArray[np.int64]) -> float:
    if min(len(np.unique(groups[has])), len(np.unique(groups[~has]))) < FEWEST_FOR_A_THRESHOLD:
        return DEFAULT_THRESHOLD
    folds = groups % _N_FOLDS
    answered = np.zeros(len(has), dtype=np.bool_)
    for fold in range(_N_FOLDS):
        held_out = folds == fold
        answered[held_out] = probabilities[held_out] >= best_f1_threshold(probabilities[~held_out], has[~held_out])
    gain, error = _gain(answered, probabilities >= DEFAULT_THRESHOLD, has, groups)
    return best_f1_threshold(probabilities, has) if gain > _STANDARD_ERRORS * error else DEFAULT_THRESHOLD


def best_f1_threshold(probabilities: NDArray[np.float64], has: Flags) -> float:
    """The threshold with the best F1 on these samples; the one nearest to 0.5 of equals."""
    values, places = np.unique(probabilities, return_inverse=True)
    # With the u-th value as the smallest that counts: all that lie there or above are answered.
    n_right = np.bincount(places, weights=has, minlength=len(values))[::-1].cumsum()[::-1]
    n_answered = np.bincount(places, minlength=len(values))[::-1].cumsum()[::-1]
    f1 = 2 * n_right / (n_answered + has.sum())
    thresholds = (values + np.concatenate([[0.0], values[:-1]])) / 2
    usable = (thresholds > 0) & (thresholds < 1)
    found = thresholds[usable & (f1 == f1[usable].max(initial=-1.0))]
    return float(found[np.abs(found - DEFAULT_THRESHOLD).argmin()]) if found.size else DEFAULT_THRESHOLD


def _gain(answered: Flags, before: Flags, has: Flags, groups: NDArray[np.int64]) -> tuple[float, float]:
    """How much better F1 is than before, and the standard error of that on the same groups (delta method)."""
    f1, influences = _f1(answered, has)
    f1_before, influences_before = _f1(before, has)
    by_group = np.bincount(groups, weights=influences - influences_before)
    return f1 - f1_before, float(by_group.std() * np.sqrt(len(by_group)) / len(has))


def _f1(answered: Flags, has: Flags) -> tuple[float, NDArray[np.float64]]:
    """F1 as the ratio of two sums over samples, and each sample's influence on it: [n]."""
    shares, sizes = 2.0 * (answered & has), answered.astype(np.float64) + has
    f1 = float(shares.sum() / sizes.sum())
    return f1, (shares - f1 * sizes) / sizes.mean()
