"""Permutation test of the shares of answers that name each label, where an answer names any number of labels.

Letters for shapes: n reference samples, m window samples, k labels, N = n + m.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from monitoring.signals.distribution import DistributionTest
from monitoring.signals.permutation import permutation_p_value
from monitoring.signals.rows import canonical_order


def label_share_test(
    reference: NDArray[np.bool_], window: NDArray[np.bool_], n_permutations: int, rng: np.random.Generator
) -> DistributionTest:
    """Largest chi-square statistic over the labels' 2 x 2 tables, with a permutation p-value (Westfall and Young 1993).

    Whole rows are permuted, so labels that come together count as what they are: one test for all labels that keeps its level exactly,
    where Bonferroni over k tests would lose power. The sets themselves are not compared: there may be as many of them as requests.

    Args:
        reference: [n, k], whether the answer names the label.
        window: [m, k], likewise.
        n_permutations: At most so many.
        rng: Of the permutations.

    Returns:
        The same for any order of the rows. Where no label tells two answers apart the statistic is 0 and the p-value 1.
    """
    pooled = np.concatenate([reference[canonical_order(reference)], window[canonical_order(window)]]).astype(np.float64)
    totals = pooled.sum(axis=0)
    pooled = pooled[:, (totals > 0) & (totals < len(pooled))]
    method = "largest chi-square over the labels, permuted"
    if not pooled.shape[1]:
        return DistributionTest(0.0, 1.0, method)
    observed = float(_largest_chi_square(pooled[len(reference) :].sum(axis=0)[None, :], pooled, len(window))[0])

    def draw(count: int) -> NDArray[np.float64]:
        counts = np.stack([pooled[rng.permutation(len(pooled))[: len(window)]].sum(axis=0) for _ in range(count)])
        return _largest_chi_square(counts, pooled, len(window))

    return DistributionTest(observed, permutation_p_value(observed, draw, n_permutations), method)


def _largest_chi_square(window_counts: NDArray[np.float64], pooled: NDArray[np.float64], n_window: int) -> NDArray[np.float64]:
    """Pearson's statistic of each label's 2 x 2 table, the largest of each row of window counts [count, k]: [count]."""
    n_total, totals = len(pooled), pooled.sum(axis=0)
    deviations = window_counts - n_window * totals / n_total
    variances = n_window * (n_total - n_window) * totals * (n_total - totals) / n_total**3
    return np.asarray((deviations**2 / variances).max(axis=1), dtype=np.float64)
