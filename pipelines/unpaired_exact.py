"""An exact test of the difference of two proportions on different samples: how far one group lags behind another.

Zou and Donner's bound from Clopper-Pearson limits errs too often where a small group is compared with a large one: in more than 5.4 % of
draws at a level of 95 %, in more than 1.9 % at 99 % (tests/pipelines/test_unpaired_exact.py). So it only puts the outcomes into an order;
their probabilities are summed (Suissa and Shuster 1985, https://doi.org/10.2307/2981892). The unknown rate is sought in a confidence
interval whose error is added to the p-value (Berger and Boos 1994, https://doi.org/10.1080/01621459.1994.10476836).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.intervals import check_counts

# Of the interval for the unknown rate, as a share of the test's own error.
_INTERVAL_SHARE = 0.02
_N_RATES = 128
# Outcomes beyond these quantiles count as being in the region: that can only raise a p-value.
_NEGLECTED = 1e-9
_TIE = 1e-9
_BOUND_PRECISION = 1e-4


@dataclass(frozen=True)
class GroupCounts:
    """Right answers in a group of n samples, n at least 1."""

    n_correct: int
    n: int

    @property
    def share(self) -> float:
        """Of right answers."""
        return self.n_correct / self.n


def lag_p_value(ahead: GroupCounts, behind: GroupCounts, gap: float, level: float = 0.95) -> float:
    """Of the null hypothesis that the true rate of `ahead` exceeds that of `behind` by `gap` or more.

    Args:
        ahead: One group.
        behind: The other; a sample in both makes the test more careful, as it moves both rates alike.
        gap: In [0, 1].
        level: Of the bounds that order the outcomes; any level gives a valid test, the test's own the most powerful.

    Raises:
        DataError: The counts are impossible.

    Returns:
        1 where the difference that was seen is `gap` or more.
    """
    for group in (ahead, behind):
        check_counts(group.n, hits=group.n_correct)
    if ahead.share - behind.share >= gap:
        return 1.0
    error = _INTERVAL_SHARE * (1 - level)
    low, high = _rates_of_behind(ahead, behind, gap, error / 2)
    # With a smaller difference seen, the two intervals miss each other only where a true one of `gap` is all but excluded.
    if low > high:
        return error
    rates = np.linspace(low, high, _N_RATES)
    return min(1.0, error + float(_probability_of_region(ahead, behind, rates, gap, level).max()))


def lag_upper_bound(ahead: GroupCounts, behind: GroupCounts, level: float) -> float:
    """The smallest gap, to 0.0001, that `lag_p_value` rejects at `level`; 0 where even a gap of 0 is rejected."""
    low, high = max(0.0, ahead.share - behind.share), 1.0
    if lag_p_value(ahead, behind, 0.0, level) <= 1 - level:
        return 0.0
    while high - low > _BOUND_PRECISION:
        middle = (low + high) / 2
        if lag_p_value(ahead, behind, middle, level) <= 1 - level:
            high = middle
        else:
            low = middle
    return high


def approximate_lag_bound(ahead: Any, n_ahead: int, behind: Any, n_behind: int, level: float) -> Any:
    """Zou and Donner's bound (https://doi.org/10.1002/sim.3095) from Clopper-Pearson limits; for arrays of counts."""
    _, high = _limits(n_ahead, level)
    low, _ = _limits(n_behind, level)
    first, second = ahead / n_ahead, behind / n_behind
    return first - second + np.sqrt((high[ahead] - first) ** 2 + (second - low[behind]) ** 2)


@lru_cache(maxsize=64)
def _limits(n: int, level: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """One-sided Clopper-Pearson limits, lower and upper, of 0 to n hits."""
    from scipy.special import betaincinv

    hits = np.arange(n + 1)
    low = np.where(hits > 0, betaincinv(np.maximum(hits, 1), n - hits + 1, 1 - level), 0.0)
    high = np.where(hits < n, betaincinv(hits + 1, np.maximum(n - hits, 1), level), 1.0)
    return low, high


def _rates_of_behind(ahead: GroupCounts, behind: GroupCounts, gap: float, error: float) -> tuple[float, float]:
    """Where the rate of `behind` can be if that of `ahead` is higher by `gap`: both intervals allow it."""
    ahead_low, ahead_high = (float(limits[ahead.n_correct]) for limits in _limits(ahead.n, 1 - error / 2))
    behind_low, behind_high = (float(limits[behind.n_correct]) for limits in _limits(behind.n, 1 - error / 2))
    return max(0.0, ahead_low - gap, behind_low), min(1 - gap, ahead_high - gap, behind_high)


def _probability_of_region(
    ahead: GroupCounts, behind: GroupCounts, rates: NDArray[np.float64], gap: float, level: float
) -> NDArray[np.float64]:
    """[r]: probability, at each rate of `behind`, of an outcome that speaks as much or more for a small gap."""
    from scipy.special import bdtrc
    from scipy.stats import binom

    observed = approximate_lag_bound(np.array(ahead.n_correct), ahead.n, np.array(behind.n_correct), behind.n, level)
    first = int(binom.ppf(_NEGLECTED, ahead.n, rates[0] + gap))
    last = int(binom.isf(_NEGLECTED, ahead.n, min(1.0, rates[-1] + gap)))
    hits = np.arange(max(first, 0), last + 1)
    fewest = _fewest_of_behind(hits, ahead.n, behind.n, float(observed), level)
    ahead_rates = np.minimum(rates + gap, 1.0)[:, None]
    reached = np.where(fewest > behind.n, 0.0, bdtrc(fewest - 1, behind.n, rates[:, None]))
    reached = np.where(fewest <= 0, 1.0, reached)
    return np.asarray((binom.pmf(hits, ahead.n, ahead_rates) * reached).sum(axis=1) + 2 * _NEGLECTED)


def _fewest_of_behind(hits: NDArray[np.int64], n_ahead: int, n_behind: int, observed: float, level: float) -> NDArray[np.int64]:
    """For each count of `ahead` the fewest of `behind` whose bound is `observed` or less; n_behind + 1 where none is.

    The bound falls with every right answer of `behind`, so it is found by halving.
    """
    low, high = np.zeros(len(hits), dtype=np.int64), np.full(len(hits), n_behind + 1)
    while (low < high).any():
        middle = (low + high) // 2
        bound = approximate_lag_bound(hits, n_ahead, np.minimum(middle, n_behind), n_behind, level)
        is_enough = (bound <= observed + _TIE) | (middle > n_behind)
        high, low = np.where(is_enough, middle, high), np.where(is_enough, low, middle + 1)
    return low
