from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from monitoring.signals.embedding import BANDWIDTHS, bin_means, discrepancy_test, draw_frequencies, median_distance

Samples = NDArray[np.float64]


def slow_discrepancy(reference: Samples, window: Samples, bandwidth: float) -> float:
    """Gretton et al. 2012, equation 5, pair by pair, with the mean of the kernels."""

    def mean_kernel(first: Samples, second: Samples) -> float:
        values = [
            np.mean([np.exp(-sum((a - b) ** 2) / (2 * (scale * bandwidth) ** 2)) for scale in BANDWIDTHS]) for a in first for b in second
        ]
        return float(sum(values) / len(values))

    return mean_kernel(reference, reference) + mean_kernel(window, window) - 2 * mean_kernel(reference, window)


@pytest.mark.parametrize(("n_reference", "n_window", "shift"), [(23, 17, 0.0), (12, 31, 1.5), (20, 20, 100.0)])
def test_statistic_and_bandwidth_near_a_slow_loop(n_reference: int, n_window: int, shift: float) -> None:
    rng = np.random.default_rng(n_reference)
    reference, window = rng.normal(size=(n_reference, 4)), rng.normal(size=(n_window, 4)) + shift
    result = discrepancy_test(reference, window, 99, rng)
    pooled = np.concatenate([reference, window])
    distances = [np.linalg.norm(a - b) for place, a in enumerate(pooled) for b in pooled[:place]]
    assert result.bandwidth == pytest.approx(np.median(distances), rel=1e-9)
    # Random features know a kernel's mean to one part in the root of their number.
    assert result.statistic == pytest.approx(slow_discrepancy(reference, window, result.bandwidth), abs=0.06)
    assert (result.n_reference, result.n_window, result.bin_size) == (n_reference, n_window, 1)


def test_features_multiply_to_the_kernel() -> None:
    rng = np.random.default_rng(0)
    samples = rng.normal(size=(30, 5))
    features = [bin_means(samples, draw_frequencies(5, 2.0, rng), 1) for _ in range(40)]
    products = np.mean([rows @ rows.T for rows in features], axis=0)
    squared = ((samples[:, None] - samples[None]) ** 2).sum(axis=2)
    kernel = np.mean([np.exp(-squared / (2 * (2.0 * scale) ** 2)) for scale in BANDWIDTHS], axis=0)
    np.testing.assert_allclose(products, kernel, atol=0.05)


def test_p_value_equals_all_splits_of_a_tiny_sample() -> None:
    rng = np.random.default_rng(3)
    reference, window = rng.normal(size=(6, 2)), rng.normal(size=(4, 2)) + 1.0
    result = discrepancy_test(reference, window, 20_000, np.random.default_rng(1))
    pooled = np.concatenate([reference, window])
    splits = [set(chosen) for chosen in combinations(range(10), 4)]
    statistics = np.array(
        [slow_discrepancy(pooled[[i for i in range(10) if i not in chosen]], pooled[sorted(chosen)], result.bandwidth) for chosen in splits]
    )
    exact = np.mean(statistics >= slow_discrepancy(reference, window, result.bandwidth) - 1e-9)
    assert result.p_value == pytest.approx(float(exact), abs=0.06)


def test_bins_are_means_and_a_rest_is_left_out() -> None:
    rng = np.random.default_rng(4)
    samples, frequencies = rng.normal(size=(5_003, 3)), draw_frequencies(3, 1.0, rng)
    bins, single = bin_means(samples, frequencies, 7), bin_means(samples, frequencies, 1)
    assert len(bins) == 5_003 // 7
    np.testing.assert_allclose(bins[11], single[77:84].mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(bins[-1], single[(len(bins) - 1) * 7 : len(bins) * 7].mean(axis=0), atol=1e-6)


@pytest.mark.parametrize(("n_reference", "n_window", "level"), [(120, 40, 0.05), (900, 200, 0.05)])
def test_level_holds_with_and_without_bins(n_reference: int, n_window: int, level: float) -> None:
    rng = np.random.default_rng(11)
    draws = [(rng.standard_exponential((n_reference, 3)), rng.standard_exponential((n_window, 3))) for _ in range(100)]
    p_values = [discrepancy_test(*pair, 199, rng).p_value for pair in draws]
    assert stats.binomtest(sum(p <= level for p in p_values), len(p_values), level, alternative="greater").pvalue > 1e-3
    assert sum(p <= 0.3 for p in p_values) >= 12


def test_a_clear_shift_goes_as_deep_as_asked() -> None:
    rng = np.random.default_rng(0)
    result = discrepancy_test(rng.normal(size=(500, 8)), rng.normal(size=(200, 8)) + 1, 20_000, rng)
    assert result.p_value == 1 / 20_001


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.integers(2, 40), st.integers(2, 40), st.integers(1, 5))
def test_order_of_rows_does_not_matter(seed: int, n_reference: int, n_window: int, n_columns: int) -> None:
    rng = np.random.default_rng(seed)
    reference, window = rng.normal(size=(n_reference, n_columns)).round(1), rng.normal(size=(n_window, n_columns)).round(1)
    first = discrepancy_test(reference, window, 99, np.random.default_rng(7))
    second = discrepancy_test(rng.permutation(reference), rng.permutation(window), 99, np.random.default_rng(7))
    assert first == second
    assert 0 < first.p_value <= 1


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.integers(2, 60))
def test_a_sample_does_not_differ_from_itself(seed: int, n_samples: int) -> None:
    sample = np.random.default_rng(seed).normal(size=(n_samples, 3))
    result = discrepancy_test(sample, sample[::-1], 99, np.random.default_rng(0))
    assert result.p_value > 0.05
    assert result.statistic == pytest.approx(0, abs=1e-9)


def test_constant_embeddings_are_not_a_difference_and_another_constant_is() -> None:
    same = discrepancy_test(np.ones((50, 3)), np.ones((40, 3)), 999, np.random.default_rng(0))
    other = discrepancy_test(np.ones((50, 3)), np.full((40, 3), 2.0), 999, np.random.default_rng(0))
    assert same.p_value == 1.0
    assert other.p_value == 1 / 1_000


def test_bandwidth_survives_many_equal_rows() -> None:
    rows = np.zeros((5, 2))
    rows[0, 0] = 2.0
    assert median_distance(rows) == 2.0
    assert median_distance(np.zeros((5, 2))) == 1.0
