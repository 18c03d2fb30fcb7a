from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from monitoring.signals.classifier import classifier_test


@pytest.mark.parametrize("n_columns", [3, 100])
def test_level(n_columns: int) -> None:
    rng = np.random.default_rng(0)
    draws = [(rng.standard_exponential((150, n_columns)), rng.standard_exponential((60, n_columns))) for _ in range(60)]
    p_values = [classifier_test(*pair, rng).p_value for pair in draws]
    for level in (0.01, 0.1):
        assert stats.binomtest(sum(p <= level for p in p_values), 60, level, alternative="greater").pvalue > 1e-3
    assert sum(p <= 0.3 for p in p_values) > 7


@pytest.mark.slow
def test_level_far_out_over_many_windows() -> None:
    rng = np.random.default_rng(1)
    p_values = [classifier_test(rng.normal(size=(120, 2)), rng.normal(size=(60, 2)), rng).p_value for _ in range(4_000)]
    for level in (0.001, 0.01, 0.05):
        assert stats.binomtest(sum(p <= level for p in p_values), 4_000, level, alternative="greater").pvalue > 1e-3


def test_small_p_values_err_on_the_safe_side() -> None:
    """The normal approximation against the exact distribution, for one pair of held-out halves."""
    for n, m in ((30, 20), (60, 25)):
        for statistic in np.linspace(0.6, 0.97, 6) * n * m:
            exact = stats.mannwhitneyu(*_with_statistic(n, m, int(statistic)), alternative="greater", method="exact")
            normal = stats.mannwhitneyu(*_with_statistic(n, m, int(statistic)), alternative="greater", method="asymptotic")
            assert exact.pvalue <= normal.pvalue * 1.15


def _with_statistic(n: int, m: int, statistic: int) -> tuple[np.ndarray, np.ndarray]:
    """Two samples without ties whose Mann-Whitney statistic is this."""
    before = np.arange(n, dtype=float)
    places = np.full(m, statistic // m) + (np.arange(m) < statistic % m)
    return places - 0.5 + np.arange(m) * 1e-6, before


@pytest.mark.parametrize("change", ["mean", "spread"])
def test_power(change: str) -> None:
    rng = np.random.default_rng(2)
    for _ in range(5):
        window = rng.normal(size=(200, 8)) + (0.6 if change == "mean" else 0)
        result = classifier_test(rng.normal(size=(500, 8)), window * (1.6 if change == "spread" else 1), rng)
        assert result.p_value < 1e-3
        assert result.statistic > 0.6


def test_the_statistic_is_an_area_under_a_roc_curve() -> None:
    rng = np.random.default_rng(3)
    before, now = rng.normal(size=(40, 1)), rng.normal(size=(41, 1)) + 5
    assert classifier_test(before, now, rng).statistic == pytest.approx(
        roc_auc_score([0] * 40 + [1] * 41, np.concatenate([before, now])[:, 0]), abs=0.02
    )


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.integers(2, 40), st.integers(2, 40))
def test_order_does_not_matter(seed: int, n_reference: int, n_window: int) -> None:
    rng = np.random.default_rng(seed)
    reference, window = rng.normal(size=(n_reference, 3)).round(1), rng.normal(size=(n_window, 3)).round(1)
    first = classifier_test(reference, window, np.random.default_rng(7))
    assert first == classifier_test(rng.permutation(reference), rng.permutation(window), np.random.default_rng(7))
    assert 0 < first.p_value <= 1


def test_constants_tell_nothing_apart() -> None:
    result = classifier_test(np.ones((30, 3)), np.ones((20, 3)), np.random.default_rng(0))
    assert (result.statistic, result.p_value) == (0.5, 1.0)
