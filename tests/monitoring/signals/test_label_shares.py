from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from monitoring.signals.label_shares import label_share_test


def draw(rng: np.random.Generator, n: int, rates: tuple[float, ...]) -> np.ndarray:
    shared = rng.random((n, 1))
    return (0.5 * shared + 0.5 * rng.random((n, len(rates)))) < np.array(rates)


@settings(max_examples=20)
@given(st.integers(0, 10_000))
def test_the_statistic_is_the_largest_of_scipys(seed: int) -> None:
    rng = np.random.default_rng(seed)
    reference, window = draw(rng, 60, (0.4, 0.7, 0.2)), draw(rng, 40, (0.5, 0.5, 0.5))
    expected = []
    for label in range(3):
        n_named = np.array([reference[:, label].sum(), window[:, label].sum()])
        table = np.array([n_named, [60, 40] - n_named])
        if table.sum(axis=1).min() > 0:
            expected.append(stats.chi2_contingency(table, correction=False).statistic)
    assert label_share_test(reference, window, 99, rng).statistic == pytest.approx(max(expected, default=0.0))


def test_one_label_equals_fishers_test() -> None:
    """For one label the permutation distribution is the hypergeometric one."""
    rng = np.random.default_rng(3)
    reference, window = rng.random((80, 1)) < 0.3, rng.random((40, 1)) < 0.5
    found = label_share_test(reference, window, 20_000, rng).p_value
    n_named = int(reference.sum() + window.sum())
    counts = np.arange(41)
    chances = stats.hypergeom.pmf(counts, 120, n_named, 40)
    far = np.abs(counts - n_named / 3) >= abs(int(window.sum()) - n_named / 3) - 1e-9
    assert found == pytest.approx(chances[far].sum(), rel=0.3)


def test_the_order_of_rows_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    reference, window = draw(rng, 50, (0.4, 0.2)), draw(rng, 30, (0.5, 0.3))
    first = label_share_test(reference, window, 199, np.random.default_rng(1))
    assert label_share_test(reference[::-1], rng.permutation(window), 199, np.random.default_rng(1)) == first


def test_p_values_of_unchanged_answers_are_not_too_small() -> None:
    rng = np.random.default_rng(7)
    rates = (0.3, 0.3, 0.05, 0.01, 0.6)
    p_values = [label_share_test(draw(rng, 120, rates), draw(rng, 60, rates), 199, rng).p_value for _ in range(150)]
    for level in (0.05, 0.2):
        n_below = sum(p_value <= level for p_value in p_values)
        assert stats.binomtest(n_below, 150, level, alternative="greater").pvalue > 1e-3
    assert min(p_values) < 0.1  # a test that never falls would pass the lines above


def test_one_moved_label_among_many_is_found() -> None:
    rng = np.random.default_rng(8)
    before, after = (0.3,) * 12, (0.3,) * 11 + (0.55,)
    assert label_share_test(draw(rng, 300, before), draw(rng, 200, after), 999, rng).p_value < 0.01


def test_a_new_combination_with_the_same_shares_is_not_what_it_tests() -> None:
    """Said in its docstring: sets are not compared."""
    together, apart = np.array([[1, 1], [0, 0]] * 50, dtype=bool), np.array([[1, 0], [0, 1]] * 50, dtype=bool)
    assert label_share_test(together, apart, 199, np.random.default_rng(0)).p_value > 0.9


@pytest.mark.parametrize("value", [True, False])
def test_answers_that_are_all_alike_say_nothing(value: bool) -> None:
    rows = np.full((10, 3), value)
    result = label_share_test(rows, rows[:5], 99, np.random.default_rng(0))
    assert (result.statistic, result.p_value) == (0.0, 1.0)
