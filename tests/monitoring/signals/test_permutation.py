from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from monitoring.signals.permutation import draw_window_counts, permutation_p_value


def replayed(statistics: list[float]) -> Callable[[int], NDArray[np.float64]]:
    waiting = iter(statistics)
    return lambda count: np.array([next(waiting) for _ in range(count)])


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0]), min_size=1, max_size=700), st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0]))
def test_without_early_stop_it_is_the_textbook_value(statistics: list[float], observed: float) -> None:
    n_found = sum(value >= observed for value in statistics)
    p_value = permutation_p_value(observed, replayed(statistics), len(statistics), n_exceedances=10_000)
    assert p_value == (n_found + 1) / (len(statistics) + 1)
    assert 0 < p_value <= 1


@settings(max_examples=30)
@given(st.lists(st.booleans(), min_size=240, max_size=520), st.integers(1, 40))
def test_early_stop_is_besag_and_clifford(found: list[bool], n_exceedances: int) -> None:
    places = [place for place, hit in enumerate(found, start=1) if hit]
    p_value = permutation_p_value(0.5, replayed([float(hit) for hit in found]), len(found), n_exceedances)
    if len(places) >= n_exceedances:
        assert p_value == n_exceedances / places[n_exceedances - 1]
    else:
        assert p_value == (len(places) + 1) / (len(found) + 1)


def test_rounding_noise_counts_as_a_tie() -> None:
    assert permutation_p_value(1.0, lambda count: np.full(count, 1.0 - 1e-12), 99) == 1.0


@pytest.mark.parametrize("n_window", [2, 30])  # one size for each of the two algorithms
def test_window_counts_have_the_moments_of_a_draw_without_replacement(n_window: int) -> None:
    totals = np.array([3, 0, 10, 1, 6, 20])
    counts = draw_window_counts(totals, n_window, 4_000, np.random.default_rng(0))
    assert (counts.sum(axis=1) == n_window).all()
    assert (counts <= totals).all()
    share = totals / totals.sum()
    variance = n_window * share * (1 - share) * (totals.sum() - n_window) / (totals.sum() - 1)
    np.testing.assert_allclose(counts.mean(axis=0), n_window * share, atol=0.08)
    np.testing.assert_allclose(counts.var(axis=0), variance, rtol=0.15, atol=0.01)
