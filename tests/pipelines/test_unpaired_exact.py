"""The exact test of two groups: its error by summing all outcomes, and that it is not won by refusing everything."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from pipelines.core.errors import DataError
from pipelines.unpaired_exact import GroupCounts, approximate_lag_bound, lag_p_value, lag_upper_bound


@cache
def region(n_ahead: int, n_behind: int, gap: float, level: float) -> np.ndarray:
    """[n_ahead + 1, n_behind + 1]: which outcomes pass."""
    outcomes = [
        [lag_p_value(GroupCounts(a, n_ahead), GroupCounts(b, n_behind), gap, level) for b in range(n_behind + 1)]
        for a in range(n_ahead + 1)
    ]
    return np.array(outcomes) <= 1 - level


def pass_rates(passing: np.ndarray, gap: float, n_rates: int = 400) -> np.ndarray:
    """At every rate of the group behind, the other ahead by exactly the gap; summed over all outcomes."""
    n_ahead, n_behind = passing.shape[0] - 1, passing.shape[1] - 1
    rates = np.linspace(0, 1 - gap, n_rates)[:, None]
    ahead, behind = binom.pmf(np.arange(n_ahead + 1), n_ahead, rates + gap), binom.pmf(np.arange(n_behind + 1), n_behind, rates)
    return np.einsum("ra,ab,rb->r", ahead, passing, behind)


@pytest.mark.parametrize(("n_ahead", "n_behind"), [(12, 12), (20, 8), (8, 20)])
@pytest.mark.parametrize(("gap", "level"), [(0.0, 0.95), (0.2, 0.95), (0.3, 0.99)])
def test_the_error_is_within_the_level_at_every_rate(n_ahead: int, n_behind: int, gap: float, level: float) -> None:
    rates = pass_rates(region(n_ahead, n_behind, gap, level), gap)
    assert rates.max() <= 1 - level
    assert rates.max() > 0.3 * (1 - level)  # not by refusing everything


@pytest.mark.slow
@pytest.mark.parametrize(("n_ahead", "n_behind"), [(30, 30), (30, 100), (100, 30)])
@pytest.mark.parametrize(("gap", "level"), [(0.05, 0.95), (0.1, 0.95), (0.3, 0.99), (0.3, 0.9975)])
def test_the_error_is_within_the_level_for_larger_groups(n_ahead: int, n_behind: int, gap: float, level: float) -> None:
    assert pass_rates(region(n_ahead, n_behind, gap, level), gap).max() <= 1 - level


@pytest.mark.parametrize(("n_ahead", "n_behind", "gap", "level", "rate"), [(2000, 100, 0.2, 0.95, 0.054), (2000, 30, 0.3, 0.99, 0.019)])
def test_the_approximate_bound_alone_would_err_more_often(n_ahead: int, n_behind: int, gap: float, level: float, rate: float) -> None:
    ahead, behind = np.meshgrid(np.arange(n_ahead + 1), np.arange(n_behind + 1), indexing="ij")
    passing = approximate_lag_bound(ahead, n_ahead, behind, n_behind, level) <= gap
    assert pass_rates(passing, gap, 1000).max() > rate > 1 - level


@pytest.mark.slow
@pytest.mark.parametrize(("n_ahead", "n_behind", "gap", "level", "behind"), [(2000, 100, 0.2, 0.95, 0.004), (2000, 30, 0.3, 0.99, 0.006)])
def test_where_the_approximate_bound_errs_the_exact_test_does_not(
    n_ahead: int, n_behind: int, gap: float, level: float, behind: float
) -> None:
    """Only outcomes that occur are decided: all others count as passing."""
    counts = np.arange(n_ahead + 1)
    likely = counts[(binom.cdf(counts, n_ahead, behind + gap) > 1e-6) & (binom.sf(counts - 1, n_ahead, behind + gap) > 1e-6)]
    rate = 2e-6
    for n_correct in range(8):
        weight = binom.pmf(n_correct, n_behind, behind)
        values = [lag_p_value(GroupCounts(int(a), n_ahead), GroupCounts(n_correct, n_behind), gap, level) for a in likely]
        rate += weight * binom.pmf(likely, n_ahead, behind + gap)[np.array(values) <= 1 - level].sum()
    assert rate + binom.sf(7, n_behind, behind) <= 1 - level


counts = st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(counts, counts, st.sampled_from([0.9, 0.95, 0.99]))
def test_bound_and_p_value_agree(ahead: tuple[int, int], behind: tuple[int, int], level: float) -> None:
    first, second = GroupCounts(*ahead), GroupCounts(*behind)
    high = lag_upper_bound(first, second, level)
    assert high >= min(1, max(0, first.share - second.share))
    assert high == 1 or lag_p_value(first, second, high, level) <= 1 - level
    if high > 0.001:
        assert lag_p_value(first, second, high - 0.001, level) > 1 - level


def test_equal_groups_show_a_gap_of_a_size_that_their_number_resolves() -> None:
    assert lag_p_value(GroupCounts(950, 1000), GroupCounts(950, 1000), 0.05) < 0.01
    assert lag_p_value(GroupCounts(28, 30), GroupCounts(28, 30), 0.05) > 0.05


def test_impossible_counts_are_refused() -> None:
    with pytest.raises(DataError, match="5 hits of 4 samples"):
        lag_p_value(GroupCounts(5, 4), GroupCounts(1, 4), 0.1)
    with pytest.raises(DataError, match="of 0 samples"):
        lag_p_value(GroupCounts(1, 4), GroupCounts(0, 0), 0.1)


def test_a_difference_as_large_as_the_gap_or_larger_shows_nothing() -> None:
    """Also where it is so much larger that a true difference of just the gap is excluded."""
    assert lag_p_value(GroupCounts(4, 4), GroupCounts(0, 4), 1.0) == 1
    assert lag_p_value(GroupCounts(100, 100), GroupCounts(0, 100), 0.1) == 1
    assert lag_p_value(GroupCounts(0, 100), GroupCounts(100, 100), 0.1) < 0.0011
