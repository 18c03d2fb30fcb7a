"""Maximum mean discrepancy between two sets of embeddings (Gretton et al. 2012, https://jmlr.org/papers/v13/gretton12a.html).

Letters for shapes: n reference samples, m window samples, e embedding size, N = n + m.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitoring.signals.permutation import permutation_p_value

# The kernel matrix has (2 * 1,000) ** 2 entries of 8 bytes, 32 MB, however large the window and the reference are.
MAX_SAMPLES = 1_000


@dataclass(frozen=True)
class DiscrepancyTest:
    """Result of the embedding test.

    Attributes:
        statistic: Biased estimate of the squared discrepancy, in [0, 2].
        p_value: In (0, 1].
        bandwidth: Of the Gaussian kernel, in the embedding's unit.
        n_reference, n_window: Samples that were compared.
    """

    statistic: float
    p_value: float
    bandwidth: float
    n_reference: int
    n_window: int


def discrepancy_test(
    reference: NDArray[np.float64], window: NDArray[np.float64], n_permutations: int, rng: np.random.Generator
) -> DiscrepancyTest:
    """Permutation test of equal distributions, Gaussian kernel, bandwidth the median distance of the pooled sample.

    Args:
        reference: [n, e], finite. More than 1,000 rows are subsampled.
        window: [m, e], finite; likewise.
        n_permutations: At most so many.
        rng: Of the subsample and the permutations.

    Returns:
        The same for any order of the rows.
    """
    first, second = _subsample(reference, rng), _subsample(window, rng)
    squared = _squared_distances(np.concatenate([first, second]))
    bandwidth = median_distance(squared)
    kernel = np.exp(squared / (-2 * bandwidth**2))
    in_window = np.zeros((len(kernel), 1))
    in_window[len(first) :] = 1
    observed = float(_discrepancies(kernel, in_window)[0])

    def draw(count: int) -> NDArray[np.float64]:
        return _discrepancies(kernel, _random_splits(len(kernel), len(second), count, rng))

    p_value = permutation_p_value(observed, draw, n_permutations)
    return DiscrepancyTest(observed, p_value, bandwidth, len(first), len(second))


def median_distance(squared_distances: NDArray[np.float64]) -> float:
    """Median distance of the pairs, or 1 where more than half of the pairs coincide.

    It depends on the pooled sample only, so that permutations leave it alone.
    """
    upper = squared_distances[np.triu_indices(len(squared_distances), k=1)]
    positive = upper[upper > 0]
    if not positive.size:
        return 1.0
    median = float(np.median(upper))
    return float(np.sqrt(median if median > 0 else np.median(positive)))


def _subsample(samples: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    ordered = samples[np.lexsort(samples.T[::-1])]  # the draw must not depend on the order of the log
    if len(ordered) <= MAX_SAMPLES:
        return ordered
    return np.asarray(ordered[np.sort(rng.choice(len(ordered), MAX_SAMPLES, replace=False))])


def _squared_distances(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    centred = samples - samples.mean(axis=0)  # large common offsets would cancel badly below
    norms = (centred**2).sum(axis=1)
    squared = norms[:, None] + norms[None, :] - 2 * centred @ centred.T
    # Equal rows give rounding noise instead of 0.
    squared[squared < 1e-12 * max(float(norms.max()), 1e-300)] = 0
    np.fill_diagonal(squared, 0)
    return np.asarray(squared)


def _random_splits(n_samples: int, n_window: int, count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    chosen = rng.random((count, n_samples)).argpartition(n_window - 1, axis=1)[:, :n_window]
    splits = np.zeros((count, n_samples))
    np.put_along_axis(splits, chosen, 1, axis=1)
    return splits.T


def _discrepancies(kernel: NDArray[np.float64], splits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Squared discrepancy for each split: `splits` [N, count] is 1 for the window and 0 for the reference; returns [count]."""
    n_window = splits.sum(axis=0)
    n_reference = len(kernel) - n_window
    to_window = kernel @ splits
    within_window = (splits * to_window).sum(axis=0)
    across = to_window.sum(axis=0) - within_window
    within_reference = kernel.sum() - within_window - 2 * across
    squared = within_window / n_window**2 + within_reference / n_reference**2 - 2 * across / (n_window * n_reference)
    return np.asarray(np.maximum(squared, 0.0))
