"""Intervals and tests for proportions: of one model, and of two models on the same samples.

Words: a *win* is a sample that the candidate gets right and the champion wrong, a *loss* the reverse; both are discordant.
Only they carry information on the difference. The exact test of a difference is in `pipelines.paired_exact`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipelines.core.errors import DataError

# Roots are sought inside (-1, 1); at the ends themselves the score's variance is 0.
_EDGE = 1e-12


@dataclass(frozen=True)
class ProportionInterval:
    """A proportion, or a difference of two, with its interval.

    Attributes:
        value: The estimate, in [0, 1]; of a difference in [-1, 1].
        low, high: Ends of the interval, around `value`.
        n: Samples.
    """

    value: float
    low: float
    high: float
    n: int


def clopper_pearson(n_hits: int, n: int, level: float = 0.95) -> ProportionInterval:
    """The exact interval of one proportion (Clopper and Pearson 1934, https://doi.org/10.1093/biomet/26.4.404).

    It covers the true proportion with probability `level` or more at every n; it is wider than it needs to be, never too narrow.

    Args:
        n_hits: In [0, n].
        n: At least 1.
        level: Two-sided. Each end alone is a one-sided bound at level `(1 + level) / 2`; see `one_sided_bounds`.

    Raises:
        DataError: The counts are impossible.
    """
    from scipy.special import betaincinv

    check_counts(n, hits=n_hits)
    tail = (1 - level) / 2
    low = float(betaincinv(n_hits, n - n_hits + 1, tail)) if n_hits else 0.0
    high = float(betaincinv(n_hits + 1, n - n_hits, 1 - tail)) if n_hits < n else 1.0
    return ProportionInterval(n_hits / n, low, high, n)


def one_sided_bounds(n_hits: int, n: int, level: float) -> ProportionInterval:
    """Clopper-Pearson with each end a one-sided bound at `level`: the two-sided interval at `2 * level - 1`.

    Args:
        n_hits: In [0, n].
        n: At least 1.
        level: In (0.5, 1).
    """
    return clopper_pearson(n_hits, n, 2 * level - 1)


def tango_score(n_wins: ArrayLike, n_losses: ArrayLike, n: int, difference: float) -> NDArray[np.float64]:
    """Score statistic of H0: (win rate - loss rate) = `difference`; about standard normal under H0.

    Tango 1998, Stat. Med. 17:891, https://doi.org/10.1002/(SICI)1097-0258(19980430)17:8%3C891::AID-SIM780%3E3.0.CO;2-B.

    Args:
        n_wins: Right by the candidate alone, any shape.
        n_losses: Right by the champion alone, same shape; their sum is at most n.
        n: Paired samples.
        difference: In (-1, 1).

    Returns:
        float64 in the counts' shape; 0 where there is nothing to see (`difference` 0 and no discordant sample).
    """
    wins, losses = np.asarray(n_wins, dtype=np.float64), np.asarray(n_losses, dtype=np.float64)
    # The likelihood's maximum over the loss rate, at the fixed difference, is the larger root of 2n x^2 + linear x + constant.
    linear = (2 * n - wins + losses) * difference - wins - losses
    constant = -losses * difference * (1 - difference)
    loss_rate = (np.sqrt(np.maximum(linear**2 - 8 * n * constant, 0)) - linear) / (4 * n)
    variance = np.maximum(n * (2 * loss_rate + difference * (1 - difference)), 0)
    excess = wins - losses - n * difference
    return np.divide(excess, np.sqrt(variance), out=np.zeros_like(excess), where=variance > 0)


def tango_interval(n_wins: int, n_losses: int, n: int, level: float = 0.95) -> ProportionInterval:
    """Tango's score interval of the difference of two paired proportions, candidate minus champion.

    Asymptotic: near its nominal level from some 50 samples on, but not guaranteed. What decides is `paired_exact`.

    Args:
        n_wins: Right by the candidate alone.
        n_losses: Right by the champion alone; wins and losses together are at most n.
        n: Paired samples, at least 1.
        level: Two-sided.

    Raises:
        DataError: The counts are impossible.
    """
    from scipy.special import ndtri

    check_counts(n, wins=n_wins, losses=n_losses)
    critical = float(ndtri((1 + level) / 2))
    # The champion's view is the mirror image, so one end is enough.
    low, high = _tango_low(n_wins, n_losses, n, critical), -_tango_low(n_losses, n_wins, n, critical)
    return ProportionInterval((n_wins - n_losses) / n, low, high, n)


def tango_lower_bound(n_wins: int, n_losses: int, n: int, level: float) -> float:
    """The one-sided lower bound at `level`, in (0.5, 1): the low end of the two-sided interval at `2 * level - 1`."""
    return tango_interval(n_wins, n_losses, n, 2 * level - 1).low


def _tango_low(n_wins: int, n_losses: int, n: int, critical: float) -> float:
    from scipy.optimize import brentq

    if n_losses == n:
        return -1.0
    estimate = min((n_wins - n_losses) / n, 1 - _EDGE)
    return float(
        brentq(lambda difference: float(tango_score(n_wins, n_losses, n, difference)) - critical, -1 + _EDGE, estimate, xtol=1e-12)
    )


def mcnemar_p_value(n_wins: int, n_losses: int) -> float:
    """Exact one-sided McNemar test of H0: the candidate is not better than the champion.

    McNemar 1947, https://doi.org/10.1007/BF02295996: under H0 a discordant sample is a win with probability 1/2 at most.

    Returns:
        P(Binomial(wins + losses, 1/2) >= wins); 1 where there is no discordant sample.

    Raises:
        DataError: A count is negative.
    """
    from scipy.special import bdtrc

    check_counts(max(n_wins + n_losses, 1), wins=n_wins, losses=n_losses)
    return float(bdtrc(n_wins - 1, n_wins + n_losses, 0.5))


def check_counts(n: int, **counts: int) -> None:
    """Refuses counts that no sample could have given.

    Raises:
        DataError: n is below 1, a count is negative, or the counts exceed n together.
    """
    if n < 1 or min(counts.values()) < 0 or sum(counts.values()) > n:
        shown = ", ".join(f"{count} {name}" for name, count in counts.items())
        raise DataError(
            got=f"{shown} of {n} samples.",
            allowed=f"at least 1 sample, and {' and '.join(counts)} of 0 or more that are at most all of them together.",
            next_step="check that the test split is not empty, and that the evaluation is complete.",
        )
