from __future__ import annotations

from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from monitoring.signals.distribution import as_logged, class_count_test, kolmogorov_smirnov_test
from serving.request_journal import rounded


@pytest.mark.parametrize("shift", [0.0, 0.1, 0.3])
def test_without_ties_it_is_scipys(shift: float) -> None:
    rng = np.random.default_rng(1)
    reference, window = rng.normal(size=400), rng.normal(size=150) + shift
    result = kolmogorov_smirnov_test(reference, window)
    exact = stats.ks_2samp(reference, window, method="exact")
    assert result.statistic == pytest.approx(exact.statistic)
    assert result.p_value == pytest.approx(exact.pvalue, rel=1e-9)


@pytest.mark.parametrize("shift", [0.0, 0.15])
def test_with_ties_it_is_scipys_permutation_test(shift: float) -> None:
    rng = np.random.default_rng(2)
    reference, window = rng.normal(size=300).round(1), (rng.normal(size=120) + shift).round(1)
    result = kolmogorov_smirnov_test(reference, window)

    def statistic(first: np.ndarray, second: np.ndarray) -> float:
        return float(stats.ks_2samp(first, second, method="asymp").statistic)

    oracle = stats.permutation_test((reference, window), statistic, n_resamples=600, alternative="greater", rng=np.random.default_rng(0))
    assert result.statistic == pytest.approx(oracle.statistic)
    assert result.p_value == pytest.approx(oracle.pvalue, abs=4 * np.sqrt(oracle.pvalue / 600))


def test_constants() -> None:
    assert kolmogorov_smirnov_test(np.full(300, 9.6), np.full(100, 9.6)).p_value == 1.0
    other = kolmogorov_smirnov_test(np.full(300, 9.6), np.full(100, 9.7))
    assert other.statistic == 1.0
    assert other.p_value == pytest.approx(1 / comb(400, 100), rel=1e-9)


def test_precision_of_storage_is_no_drift() -> None:
    """Confidences near 1: float32 in the reference, rounded decimals in the log. Plain Kolmogorov-Smirnov calls it drift."""
    rng = np.random.default_rng(0)
    confidences = 1 - 10 ** rng.uniform(-9, -6, 800)
    reference, window = confidences[:500].astype(np.float32).astype(np.float64), confidences[500:]
    assert stats.ks_2samp(reference, window).pvalue < 1e-6
    assert kolmogorov_smirnov_test(reference, window).p_value > 0.05


def test_a_constant_that_the_log_rounds_is_no_drift() -> None:
    """28 x 28 pixels: log2 is 9.614710 in the reference and 9.6147 in the log."""
    constant = float(np.float32(np.log2(28 * 28)))
    logged = rounded(np.full((1, 100), constant, dtype=np.float32), 5)[0]
    assert logged[0] != constant
    assert kolmogorov_smirnov_test(np.full(300, constant), np.array(logged)).p_value == 1.0


@given(st.floats(-1e6, 1e6))
def test_rounding_twice_changes_nothing(value: float) -> None:
    once = as_logged(np.array([value]))
    assert as_logged(once) == once


def test_two_classes_against_scipys_statistic_and_the_exact_sum() -> None:
    reference, window = np.repeat([0, 1], [60, 15]), np.repeat([0, 1], [22, 14])
    result = class_count_test(reference, window, 20_000, np.random.default_rng(0))
    table = [[60, 15], [22, 14]]
    asymptotic = stats.chi2_contingency(table, correction=False)
    assert result.statistic == pytest.approx(asymptotic.statistic)
    exact = sum(
        stats.hypergeom.pmf(n_second, 111, 29, 36)
        for n_second in range(30)
        if stats.chi2_contingency([[82 - 36 + n_second, 29 - n_second], [36 - n_second, n_second]], correction=False).statistic
        >= asymptotic.statistic - 1e-9
    )
    p_values = [class_count_test(reference, window, 20_000, np.random.default_rng(seed)).p_value for seed in range(20)]
    assert np.mean(p_values) == pytest.approx(exact, rel=0.12)  # each stops at 50 exceedances: its standard error is a seventh


def test_class_counts_with_many_cells_against_scipys_monte_carlo() -> None:
    rng = np.random.default_rng(5)
    reference, window = rng.choice(12, 300), np.minimum(rng.choice(14, 80), 11)
    result = class_count_test(reference, window, 5_000, rng)
    table = np.stack([np.bincount(reference, minlength=12), np.bincount(window, minlength=12)])
    method = stats.PermutationMethod(n_resamples=1_000, rng=np.random.default_rng(0))
    oracle = stats.chi2_contingency(table, correction=False, method=method)
    assert result.statistic == pytest.approx(oracle.statistic)
    assert result.p_value == pytest.approx(oracle.pvalue, abs=4 * np.sqrt(oracle.pvalue / 1_000) + 0.3 * oracle.pvalue)


def test_a_class_that_only_the_window_has_is_found() -> None:
    result = class_count_test(np.zeros(200, dtype=np.int64), np.repeat([0, 9], [80, 20]), 4_999, np.random.default_rng(0))
    assert result.p_value == 1 / 5_000


numbers = st.lists(st.integers(0, 6).map(float), min_size=1, max_size=60)


@settings(max_examples=40)
@given(numbers, numbers, st.randoms(use_true_random=False))
def test_p_values_are_probabilities_and_order_does_not_matter(first: list[float], second: list[float], random: object) -> None:
    shuffled = random.sample(second, len(second))  # type: ignore[attr-defined]
    one = kolmogorov_smirnov_test(np.array(first), np.array(second))
    two = kolmogorov_smirnov_test(np.array(first), np.array(shuffled))
    assert one == two
    assert 0 < one.p_value <= 1
    assert kolmogorov_smirnov_test(np.array(first), np.array(first)).p_value == 1.0
    before, now = np.array(first, dtype=np.int64), np.array(second, dtype=np.int64)
    assert 0 < class_count_test(before, now, 199, np.random.default_rng(0)).p_value <= 1
    assert class_count_test(before, before, 199, np.random.default_rng(0)).p_value == 1.0


def test_level_holds_with_ties() -> None:
    rng = np.random.default_rng(9)
    samples = [(rng.poisson(1.0, 120).astype(float), rng.poisson(1.0, 60).astype(float)) for _ in range(400)]
    p_values = [kolmogorov_smirnov_test(*pair).p_value for pair in samples]
    assert stats.binomtest(sum(p <= 0.05 for p in p_values), 400, 0.05, alternative="greater").pvalue > 1e-3
    # And it has not lost all of it to conservatism, as the untied p-value would.
    assert sum(p <= 0.25 for p in p_values) > 50
