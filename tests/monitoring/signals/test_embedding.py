from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from monitoring.signals.embedding import MAX_SAMPLES, discrepancy_test, median_distance


def slow_discrepancy(reference: NDArray[np.float64], window: NDArray[np.float64], bandwidth: float) -> float:
    """Gretton et al. 2012, equation 5, pair by pair."""

    def mean_kernel(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
        values = [np.exp(-sum((a - b) ** 2) / (2 * bandwidth**2)) for a in first for b in second]
        return float(sum(values) / len(values))

    return mean_kernel(reference, reference) + mean_kernel(window, window) - 2 * mean_kernel(reference, window)


@pytest.mark.parametrize(("n_reference", "n_window", "shift"), [(23, 17, 0.0), (12, 31, 1.5), (20, 20, 100.0)])
def test_statistic_and_bandwidth_equal_a_slow_loop(n_reference: int, n_window: int, shift: float) -> None:
    rng = np.random.default_rng(n_reference)
    reference, window = rng.normal(size=(n_reference, 4)), rng.normal(size=(n_window, 4)) + shift
    result = discrepancy_test(reference, window, 99, rng)
    pooled = np.concatenate([reference, window])
    distances = [np.linalg.norm(a - b) for place, a in enumerate(pooled) for b in pooled[:place]]
    assert result.bandwidth == pytest.approx(np.sqrt(np.median(np.square(distances))), rel=1e-9)
    assert result.statistic == pytest.approx(slow_discrepancy(reference, window, result.bandwidth), rel=1e-9, abs=1e-12)
    assert (result.n_reference, result.n_window) == (n_reference, n_window)


def test_p_value_equals_all_splits_of_a_tiny_sample() -> None:
    from itertools import combinations

    rng = np.random.default_rng(3)
    reference, window = rng.normal(size=(6, 2)), rng.normal(size=(4, 2)) + 1.0
    result = discrepancy_test(reference, window, 20_000, rng)
    pooled = np.concatenate([reference, window])
    splits = [set(chosen) for chosen in combinations(range(10), 4)]
    statistics = [
        slow_discrepancy(pooled[[i for i in range(10) if i not in chosen]], pooled[sorted(chosen)], result.bandwidth) for chosen in splits
    ]
    exact = np.mean(np.array(statistics) >= result.statistic - 1e-9)
    assert result.p_value == pytest.approx(float(exact), rel=0.35)  # 100 exceedances: a tenth is one standard error


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
    result = discrepancy_test(sample, sample, 99, np.random.default_rng(0))
    assert result.statistic == pytest.approx(0, abs=1e-12)
    assert result.p_value == 1.0


def test_constant_embeddings_are_not_a_difference_and_another_constant_is() -> None:
    same = discrepancy_test(np.ones((50, 3)), np.ones((40, 3)), 999, np.random.default_rng(0))
    other = discrepancy_test(np.ones((50, 3)), np.full((40, 3), 2.0), 999, np.random.default_rng(0))
    assert same.p_value == 1.0
    assert other.p_value == 1 / 1_000


def test_large_samples_are_subsampled_with_the_seed() -> None:
    rng = np.random.default_rng(0)
    reference, window = rng.normal(size=(MAX_SAMPLES + 300, 2)), rng.normal(size=(MAX_SAMPLES + 1, 2))
    first = discrepancy_test(reference, window, 99, np.random.default_rng(1))
    again = discrepancy_test(reference[::-1], window[::-1], 99, np.random.default_rng(1))
    other = discrepancy_test(reference, window, 99, np.random.default_rng(2))
    assert (first.n_reference, first.n_window) == (MAX_SAMPLES, MAX_SAMPLES)
    assert first == again
    assert first.statistic != other.statistic


def test_bandwidth_survives_many_equal_rows() -> None:
    squared = np.zeros((5, 5))
    squared[0, 1:] = squared[1:, 0] = 4.0
    assert median_distance(squared) == 2.0
    assert median_distance(np.zeros((5, 5))) == 1.0
