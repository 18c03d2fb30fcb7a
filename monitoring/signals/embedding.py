"""Maximum mean discrepancy between two sets of embeddings (Gretton et al. 2012, https://jmlr.org/papers/v13/gretton12a.html).

Two shortcuts keep memory linear in the samples and a million permutations within seconds, and both keep the level exact. The kernel is
taken on random Fourier features (Rahimi and Recht 2007). Permutations move bins of equal size instead of single samples (Domingo-Enrich,
Dwivedi and Mackey 2025, https://arxiv.org/abs/2502.07672): a permutation test with fewer permutations to choose from.

Letters for shapes: n reference samples, m window samples, e embedding size, f features, s bins.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitoring.signals.permutation import permutation_p_value
from monitoring.signals.rows import shuffled_rows

N_FREQUENCIES = 384
# The kernel is the mean of Gaussian ones at these multiples of the median distance: changes of the whole cloud and of its detail.
BANDWIDTHS = (0.5, 1.0, 2.0)
MAX_BINS = 160
_N_FOR_MEDIAN = 500
_CHUNK = 2_048


@dataclass(frozen=True)
class DiscrepancyTest:
    """Result of the embedding test.

    Attributes:
        statistic: Squared discrepancy, in [0, 2].
        p_value: In (0, 1].
        bandwidth: Median distance of pooled samples, in the embedding's unit.
        n_reference, n_window: Samples that were compared; less than a bin of each is left out.
        bin_size: Samples that change places together.
    """

    statistic: float
    p_value: float
    bandwidth: float
    n_reference: int
    n_window: int
    bin_size: int


def discrepancy_test(
    reference: NDArray[np.float64], window: NDArray[np.float64], n_permutations: int, rng: np.random.Generator
) -> DiscrepancyTest:
    """Permutation test of equal distributions.

    Args:
        reference: [n, e], finite.
        window: [m, e], finite.
        n_permutations: At most so many.
        rng: Of the frequencies, the bins and the permutations.

    Returns:
        The same for any order of the rows.
    """
    first, second = shuffled_rows(reference, rng), shuffled_rows(window, rng)
    # Mean and bandwidth depend on the pooled samples only, so that permutations leave them alone.
    together = shuffled_rows(np.concatenate([first, second]), rng)
    pooled_mean, bandwidth = together.mean(axis=0), median_distance(together[:_N_FOR_MEDIAN])
    frequencies = draw_frequencies(first.shape[1], bandwidth, rng)
    bin_size = min(max(1, -(-(len(first) + len(second)) // MAX_BINS)), len(first), len(second))
    bins = [bin_means(samples - pooled_mean, frequencies, bin_size) for samples in (first, second)]
    n_window = len(bins[1])
    pooled = np.concatenate(bins)
    products = pooled @ pooled.T
    in_window = np.zeros((len(pooled), 1))
    in_window[-n_window:] = 1
    observed = float(_discrepancies(products, in_window)[0])

    def draw(count: int) -> NDArray[np.float64]:
        return _discrepancies(products, _random_splits(len(pooled), n_window, count, rng))

    p_value = permutation_p_value(observed, draw, n_permutations)
    return DiscrepancyTest(observed, p_value, bandwidth, len(bins[0]) * bin_size, n_window * bin_size, bin_size)


def median_distance(samples: NDArray[np.float64]) -> float:
    """Median distance of the pairs of samples [n, e], or 1 where all coincide."""
    from scipy.spatial.distance import pdist

    distances = pdist(samples)
    positive = distances[distances > 0]
    if not positive.size:
        return 1.0
    return float(np.median(distances)) or float(np.median(positive))


def draw_frequencies(n_columns: int, bandwidth: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """[e, f / 2] of the random Fourier features, a third of them for each bandwidth."""
    scales = bandwidth * np.resize(np.array(BANDWIDTHS), N_FREQUENCIES)
    return np.asarray(rng.standard_normal((n_columns, N_FREQUENCIES)) / scales)


def bin_means(samples: NDArray[np.float64], frequencies: NDArray[np.float64], bin_size: int) -> NDArray[np.float64]:
    """Mean features [s, f] of bins of neighbouring samples [n, e], in chunks; a last bin that is not full is left out."""
    n_bins = len(samples) // bin_size
    step = max(1, _CHUNK // bin_size)
    means = []
    for start in range(0, n_bins, step):
        chunk = samples[start * bin_size : min(start + step, n_bins) * bin_size]
        angles = (chunk.astype(np.float32) @ frequencies.astype(np.float32)).reshape(-1, bin_size, frequencies.shape[1])
        means.append(np.concatenate([np.cos(angles).mean(axis=1), np.sin(angles).mean(axis=1)], axis=1))
    return np.asarray(np.concatenate(means), dtype=np.float64) / float(np.sqrt(frequencies.shape[1]))


def _random_splits(n_bins: int, n_window: int, count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    chosen = rng.random((count, n_bins), dtype=np.float32).argpartition(n_window - 1, axis=1)[:, :n_window]
    splits = np.zeros((count, n_bins))
    np.put_along_axis(splits, chosen, 1, axis=1)
    return splits.T


def _discrepancies(products: NDArray[np.float64], splits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Squared distance of the mean features for each split: `splits` [s, count] is 1 for the window; returns [count]."""
    n_window = splits.sum(axis=0)
    n_reference = len(products) - n_window
    to_window = products @ splits
    within_window = (splits * to_window).sum(axis=0)
    across = to_window.sum(axis=0) - within_window
    within_reference = products.sum() - within_window - 2 * across
    squared = within_window / n_window**2 + within_reference / n_reference**2 - 2 * across / (n_window * n_reference)
    return np.asarray(np.maximum(squared, 0.0))
