"""The exact test against full enumeration: its p-values, its error rate at every small case, and its agreement with its own bound."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, multinomial

from pipelines.core.errors import ConfigurationError, DataError
from pipelines.intervals import tango_interval, tango_score
from pipelines.paired_exact import CONFIDENCE_SET_ERROR, difference_p_value, exact_bounds, smallest_n_for_a_tie

small_counts = st.integers(1, 120).flatmap(
    lambda n: st.tuples(st.integers(0, n), st.just(n)).flatmap(
        lambda pair: st.tuples(st.just(pair[0]), st.integers(0, pair[1] - pair[0]), st.just(pair[1]))
    )
)


def all_outcomes(n: int) -> np.ndarray:
    return np.array([(wins, losses) for wins in range(n + 1) for losses in range(n + 1 - wins)])


def outcome_probabilities(outcomes: np.ndarray, n: int, win_rate: float, loss_rate: float) -> np.ndarray:
    rates = np.clip([win_rate, loss_rate, 1 - win_rate - loss_rate], 0, 1)
    return multinomial.pmf(np.column_stack([outcomes, n - outcomes.sum(axis=1)]), n, rates / rates.sum())


def slow_p_value(wins: int, losses: int, n: int, difference: float) -> float:
    """Enumerates all outcomes, at 2,000 discordance rates in the confidence set."""
    outcomes = all_outcomes(n)
    scores = np.array([float(tango_score(*outcome, n, difference)) for outcome in outcomes])
    extreme = scores >= float(tango_score(wins, losses, n, difference)) - 1e-9
    n_discordant, tail = wins + losses, CONFIDENCE_SET_ERROR / 2
    low = beta.ppf(tail, n_discordant, n - n_discordant + 1) if n_discordant else 0.0
    high = beta.isf(tail, n_discordant + 1, n - n_discordant) if n_discordant < n else 1.0
    rates = [rate for rate in np.linspace(low, high, 2_000) if rate >= -difference]
    tails = []
    for rate in rates:
        # Below a positive difference the worst of H0 is that every discordant sample is a win.
        win_rate = min(rate, (rate + difference) / 2)
        tails.append(outcome_probabilities(outcomes[extreme], n, win_rate, rate - win_rate).sum())
    return min(1.0, max(tails, default=0.0) + CONFIDENCE_SET_ERROR)


@pytest.mark.parametrize(
    ("wins", "losses", "n", "difference"),
    [(0, 0, 12, -0.2), (3, 1, 14, -0.05), (1, 4, 14, -0.3), (6, 1, 12, 0.1), (1, 0, 14, 0.25), (5, 0, 10, 0.0)],
)
def test_p_value_matches_full_enumeration(wins: int, losses: int, n: int, difference: float) -> None:
    fast, slow = difference_p_value(wins, losses, n, difference), slow_p_value(wins, losses, n, difference)
    # Two grids of discordance rates: neither finds the very top.
    assert fast == pytest.approx(slow, abs=2e-4)


@pytest.mark.parametrize("n", [6, 17, pytest.param(40, marks=pytest.mark.slow)])
@pytest.mark.parametrize("difference", [-0.25, -0.05, 0.0, 0.1])
def test_wrong_rejections_never_exceed_alpha(n: int, difference: float) -> None:
    """Every outcome, on the border of H0 and inside it, at all discordance rates."""
    outcomes = all_outcomes(n)
    p_values = np.array([difference_p_value(int(wins), int(losses), n, difference) for wins, losses in outcomes])
    for true_difference in (difference, difference - 0.1):
        for rate in np.linspace(abs(true_difference), 1, 41):
            weights = outcome_probabilities(outcomes, n, (rate + true_difference) / 2, (rate - true_difference) / 2)
            for alpha in (0.005, 0.01, 0.05, 0.1, 0.2, 0.5):
                assert weights[p_values <= alpha].sum() <= alpha + 1e-9


@pytest.mark.parametrize("n", [8, 37, 200])
@pytest.mark.parametrize("difference", [-0.5, -0.03, 0.0, 0.2])
def test_the_score_grows_with_the_wins(n: int, difference: float) -> None:
    """What the proof of validity needs, and the bisection over the wins."""
    for n_discordant in range(1, n + 1):
        wins = np.arange(n_discordant + 1)
        assert (np.diff(tango_score(wins, n_discordant - wins, n, difference)) > 0).all()


@settings(max_examples=60)
@given(small_counts, st.floats(-0.6, 0.6))
def test_more_wins_or_fewer_losses_never_weaken_the_case(case: tuple[int, int, int], difference: float) -> None:
    wins, losses, n = case
    p_value = difference_p_value(wins, losses, n, difference)
    if losses:
        assert difference_p_value(wins + 1, losses - 1, n, difference) <= p_value + 1e-12


@settings(max_examples=40)
@given(small_counts, st.floats(-0.5, 0.5), st.sampled_from([0.8, 0.95, 0.99]))
def test_bound_and_p_value_agree(case: tuple[int, int, int], threshold: float, level: float) -> None:
    wins, losses, n = case
    bounds = exact_bounds(wins, losses, n, level, threshold=threshold)
    assert -1 <= bounds.low <= bounds.value <= bounds.high <= 1
    assert (bounds.low >= threshold) == (difference_p_value(wins, losses, n, threshold) <= 1 - level)


@settings(max_examples=15)
@given(small_counts)
def test_bounds_mirror(case: tuple[int, int, int]) -> None:
    wins, losses, n = case
    bounds, mirrored = exact_bounds(wins, losses, n, 0.95, threshold=-0.03), exact_bounds(losses, wins, n, 0.95, threshold=0.03)
    assert (mirrored.low, mirrored.high) == (-bounds.high, -bounds.low)


@pytest.mark.parametrize(("wins", "losses", "n"), [(12, 9, 450), (40, 55, 1_000), (300, 280, 20_000)])
def test_exact_bounds_are_near_tangos(wins: int, losses: int, n: int) -> None:
    exact, asymptotic = exact_bounds(wins, losses, n, 0.95, threshold=-0.03), tango_interval(wins, losses, n, 0.9)
    width = asymptotic.high - asymptotic.low
    assert (exact.low, exact.high) == pytest.approx((asymptotic.low, asymptotic.high), abs=0.02 * width)


def test_a_positive_difference_is_not_claimed_from_too_few_discordant_samples() -> None:
    # One win in 1,000: the gain is near 0.1 %, so "at most 10 %" must not be rejected.
    assert difference_p_value(1, 0, 1_000, 0.1) > 0.99


def test_ends_of_the_scale() -> None:
    assert difference_p_value(3, 2, 10, 1.0) == 1
    assert difference_p_value(3, 2, 10, -1.0) == 0
    assert difference_p_value(0, 10, 10, -1.0) == 1
    assert exact_bounds(0, 10, 10, 0.95, threshold=-0.03).low == -1


def test_an_impossible_null_leaves_only_the_error_of_the_confidence_set() -> None:
    assert difference_p_value(0, 0, 100, -0.5) == CONFIDENCE_SET_ERROR


@pytest.mark.parametrize(("margin", "level", "expected"), [(0.03, 0.95, 99), (0.05, 0.95, 59), (0.01, 0.95, 299), (0.1, 0.99, 47)])
def test_samples_that_a_tie_needs(margin: float, level: float, expected: int) -> None:
    # At 95 % they follow from (1 - margin)^n <= 1 - level; at 99 % that gives 44, and other extreme outcomes add their part.
    assert smallest_n_for_a_tie(margin, level) == expected
    assert difference_p_value(0, 0, expected, -margin) <= 1 - level < difference_p_value(0, 0, expected - 1, -margin)


def test_no_number_of_ties_shows_a_margin_of_nothing() -> None:
    with pytest.raises(ConfigurationError, match="a margin above 0"):
        smallest_n_for_a_tie(0.0, 0.95)


def test_impossible_counts_are_refused() -> None:
    with pytest.raises(DataError, match="3 wins, 3 losses of 5 samples"):
        difference_p_value(3, 3, 5, -0.1)
    with pytest.raises(DataError, match="0 wins, 0 losses of 0 samples"):
        exact_bounds(0, 0, 0, 0.95, threshold=0)
