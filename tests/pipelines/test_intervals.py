"""Intervals against SciPy, published values, and slow searches that share no formula with the code."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import binomtest, norm

from pipelines.core.errors import DataError
from pipelines.intervals import clopper_pearson, mcnemar_p_value, one_sided_bounds, tango_interval, tango_lower_bound, tango_score

discordant_counts = st.integers(1, 400).flatmap(
    lambda n: st.tuples(st.integers(0, n), st.just(n)).flatmap(
        lambda pair: st.tuples(st.just(pair[0]), st.integers(0, pair[1] - pair[0]), st.just(pair[1]))
    )
)
hits = st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@pytest.mark.parametrize("n", [1, 2, 7, 30, 451, 10_000])
@pytest.mark.parametrize("level", [0.8, 0.95, 0.999])
def test_clopper_pearson_is_scipys_exact_interval(n: int, level: float) -> None:
    for n_hits in sorted({0, 1, n // 3, n // 2, n - 1, n}):
        ours, theirs = clopper_pearson(n_hits, n, level), binomtest(n_hits, n).proportion_ci(level, method="exact")
        assert (ours.value, ours.n) == (n_hits / n, n)
        assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


def test_one_sided_bounds_are_scipys() -> None:
    for n_hits, n in ((0, 20), (19, 20), (20, 20), (430, 450)):
        bounds = one_sided_bounds(n_hits, n, 0.95)
        assert bounds.low == pytest.approx(binomtest(n_hits, n, alternative="greater").proportion_ci(0.95).low, abs=1e-9)
        assert bounds.high == pytest.approx(binomtest(n_hits, n, alternative="less").proportion_ci(0.95).high, abs=1e-9)


@given(hits, st.floats(0.5, 0.999))
def test_clopper_pearson_contains_the_estimate_and_mirrors(case: tuple[int, int], level: float) -> None:
    n_hits, n = case
    interval, mirrored = clopper_pearson(n_hits, n, level), clopper_pearson(n - n_hits, n, level)
    assert 0 <= interval.low <= interval.value <= interval.high <= 1
    assert (mirrored.low, mirrored.high) == pytest.approx((1 - interval.high, 1 - interval.low), abs=1e-9)


@given(hits, st.integers(2, 20))
def test_clopper_pearson_narrows_with_n(case: tuple[int, int], factor: int) -> None:
    few, many = clopper_pearson(*case), clopper_pearson(case[0] * factor, case[1] * factor)
    assert many.high - many.low < few.high - few.low


# (wins, losses, n, level, low, high, decimals)
PUBLISHED = [
    # Fagerland, Lydersen and Laake 2014, Stat. Med. 33:2850, airway hyper-responsiveness (Bentur et al. 2009).
    (1, 7, 21, 0.95, -0.517, -0.026, 3),
    # The same authors' R package contingencytables 3.1.0, tests/testthat/test-ch8.R: complete response (Cavo et al. 2012).
    (6, 16, 161, 0.95, -0.1240, -0.0054, 4),
    # PropCIs::scoreci.mp(25, 28, 618, conf.level = 0.90), which is of (second - first) / n.
    (28, 25, 618, 0.90, -0.0148, 0.0247, 4),
]


@pytest.mark.parametrize(("wins", "losses", "n", "level", "low", "high", "decimals"), PUBLISHED)
def test_tango_interval_is_the_published_one(wins: int, losses: int, n: int, level: float, low: float, high: float, decimals: int) -> None:
    interval = tango_interval(wins, losses, n, level)
    assert (round(interval.low, decimals), round(interval.high, decimals)) == (low, high)


def slow_score(wins: int, losses: int, n: int, difference: float) -> float:
    """Tango's statistic with the likelihood maximised by search instead of by formula."""

    def minus_log_likelihood(loss_rate: float) -> float:
        rates = np.array([loss_rate + difference, loss_rate, 1 - 2 * loss_rate - difference])
        counts = np.array([wins, losses, n - wins - losses])
        if (rates < 0).any() or ((rates == 0) & (counts > 0)).any():
            return np.inf
        return -float(counts[counts > 0] @ np.log(rates[counts > 0]))

    low, high = max(0.0, -difference), (1 - difference) / 2
    # Two rounds: the first may stop beside an optimum that lies at an end.
    found = minimize_scalar(minus_log_likelihood, bounds=(low, high), method="bounded", options={"xatol": 1e-12})
    best = min((low, high, float(found.x)), key=minus_log_likelihood)
    variance = n * (2 * best + difference - difference**2)
    return (wins - losses - n * difference) / np.sqrt(variance) if variance > 0 else 0.0


@pytest.mark.parametrize(("wins", "losses", "n"), [(1, 7, 21), (0, 0, 40), (5, 0, 30), (0, 5, 30), (12, 9, 450), (30, 30, 60)])
def test_tango_score_and_interval_match_a_slow_search(wins: int, losses: int, n: int) -> None:
    differences = np.linspace(-0.98, 0.98, 197)
    slow = np.array([slow_score(wins, losses, n, float(difference)) for difference in differences])
    fast = np.array([float(tango_score(wins, losses, n, float(difference))) for difference in differences])
    np.testing.assert_allclose(fast, slow, atol=2e-4)
    interval = tango_interval(wins, losses, n)
    inside = differences[np.abs(slow) <= norm.ppf(0.975)]
    assert interval.low <= inside.min() <= interval.low + 0.01 + 1e-9
    assert interval.high - 0.01 - 1e-9 <= inside.max() <= interval.high


@given(discordant_counts, st.floats(0.5, 0.99))
def test_tango_interval_contains_the_estimate_and_mirrors(case: tuple[int, int, int], level: float) -> None:
    wins, losses, n = case
    interval, mirrored = tango_interval(wins, losses, n, level), tango_interval(losses, wins, n, level)
    assert -1 <= interval.low <= interval.value <= interval.high <= 1
    assert (mirrored.value, mirrored.low, mirrored.high) == pytest.approx((-interval.value, -interval.high, -interval.low), abs=1e-9)


@given(discordant_counts, st.integers(2, 20))
def test_tango_interval_narrows_with_n(case: tuple[int, int, int], factor: int) -> None:
    few, many = tango_interval(*case), tango_interval(*(count * factor for count in case))
    assert many.high - many.low < few.high - few.low


@pytest.mark.parametrize("n", [1, 30, 1000])
def test_tango_interval_without_discordant_samples(n: int) -> None:
    interval, critical = tango_interval(0, 0, n), norm.ppf(0.975) ** 2
    assert (interval.low, interval.high) == pytest.approx((-critical / (n + critical), critical / (n + critical)), abs=1e-9)


def test_tango_interval_at_the_ends() -> None:
    assert tango_interval(0, 10, 10).low == -1
    assert tango_interval(10, 0, 10).high == 1


def test_tango_lower_bound_is_one_sided() -> None:
    assert tango_lower_bound(12, 9, 450, 0.95) == tango_interval(12, 9, 450, 0.9).low
    assert tango_lower_bound(12, 9, 450, 0.95) > tango_interval(12, 9, 450, 0.95).low


@settings(max_examples=50)
@given(st.integers(0, 300), st.integers(0, 300))
def test_mcnemar_is_scipys_binomial_test(wins: int, losses: int) -> None:
    expected = binomtest(wins, wins + losses, 0.5, alternative="greater").pvalue if wins + losses else 1.0
    assert mcnemar_p_value(wins, losses) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: clopper_pearson(0, 0), "0 hits of 0 samples"),
        (lambda: clopper_pearson(3, 2), "3 hits of 2 samples"),
        (lambda: clopper_pearson(-1, 2), "-1 hits of 2 samples"),
        (lambda: tango_interval(0, 0, 0), "0 wins, 0 losses of 0 samples"),
        (lambda: tango_interval(3, 3, 5), "3 wins, 3 losses of 5 samples"),
        (lambda: mcnemar_p_value(-1, 4), "-1 wins, 4 losses"),
    ],
)
def test_impossible_counts_are_refused(call, message: str) -> None:
    with pytest.raises(DataError, match=message):
        call()
