"""Kolmogorov-Smirnov test of one number a sample, and a chi-square test of class counts.

Letters for shapes: n reference samples, m window samples, u distinct values, k classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitoring.signals.kolmogorov_smirnov import MAX_EXACT, exact_p_value, largest_gap
from monitoring.signals.permutation import draw_window_counts, permutation_p_value

# The log keeps 5 significant digits of a statistic (`pipelines.core.request_log`), the reference all of float32. The test compares
# ranks: without the same rounding on both sides a constant 9.614710 would lie above its own logged value 9.6147 in every window.
N_DIGITS = 5
_MAX_CELLS = 4_000_000
Statistic = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float64]]


@dataclass(frozen=True)
class DistributionTest:
    """Result of a test.

    Attributes:
        statistic: Larger means further apart.
        p_value: In (0, 1].
        method: How the p-value was found.
    """

    statistic: float
    p_value: float
    method: str


def kolmogorov_smirnov_test(reference: NDArray[np.float64], window: NDArray[np.float64]) -> DistributionTest:
    """Two-sided two-sample Kolmogorov-Smirnov test that keeps its level and its power with ties (`kolmogorov_smirnov.exact_p_value`).

    Args:
        reference: [n], finite; compared to 5 significant digits.
        window: [m], finite; likewise.

    Returns:
        The statistic is the largest difference of the distribution functions, in [0, 1].
    """
    first, second = as_logged(reference), as_logged(window)
    values, totals = np.unique(np.concatenate([first, second]), return_counts=True)
    counts = np.bincount(np.searchsorted(values, second), minlength=len(values))
    gap = largest_gap(counts, totals)
    p_value = exact_p_value(totals, len(second), gap)
    return DistributionTest(
        gap / (len(first) * len(second)),
        p_value,
        "Kolmogorov-Smirnov, exact with ties" if totals.sum() <= MAX_EXACT else "Kolmogorov-Smirnov",
    )


def as_logged(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Numbers with 5 significant digits, rounded as the log rounds them: doing it twice changes nothing."""
    return np.array([float(f"{value:.{N_DIGITS}g}") for value in values.tolist()], dtype=np.float64)


def class_count_test(
    reference: NDArray[np.int64], window: NDArray[np.int64], n_permutations: int, rng: np.random.Generator
) -> DistributionTest:
    """Chi-square test of equal class shares with a permutation p-value, right for small and empty classes too.

    Args:
        reference: [n], class indices from 0.
        window: [m], likewise.
        n_permutations: At most so many.
        rng: Of the permutations.
    """
    n_classes = int(max(reference.max(), window.max())) + 1
    counts = np.bincount(window, minlength=n_classes)
    totals = np.bincount(reference, minlength=n_classes) + counts
    counts, totals = counts[totals > 0], totals[totals > 0]
    observed = float(_chi_square(counts[None, :], totals)[0])

    def draw(count: int) -> NDArray[np.float64]:
        return _in_chunks(_chi_square, totals, len(window), count, rng)

    return DistributionTest(observed, permutation_p_value(observed, draw, n_permutations), "chi-square, permuted")


def _in_chunks(statistic: Statistic, totals: NDArray[np.int64], n_window: int, count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    # Bounds memory: a draw has one cell for each distinct value.
    step = max(1, _MAX_CELLS // len(totals))
    sizes = [min(step, count - start) for start in range(0, count, step)]
    return np.concatenate([statistic(draw_window_counts(totals, n_window, size, rng), totals) for size in sizes])


def _chi_square(window_counts: NDArray[np.int64], totals: NDArray[np.int64]) -> NDArray[np.float64]:
    """Pearson's statistic of the 2 x k tables with these window counts [b, k]: [b]."""
    n_total, n_window = int(totals.sum()), int(window_counts[0].sum())
    expected = n_window * totals / n_total
    deviations = ((window_counts - expected) ** 2 / expected).sum(axis=1)
    return np.asarray(deviations * n_total / (n_total - n_window), dtype=np.float64)
