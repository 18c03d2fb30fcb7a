"""An exact test and bound for the difference of two paired proportions, candidate minus champion.

Tango's asymptotic bound exceeds its stated error rate at some sample sizes (docs/gates.md has the numbers). A gate must not, so it uses
Tango's score only to order the outcomes, and sums their exact probabilities: an unconditional exact test
(Hsueh, Liu and Chen 2001, https://doi.org/10.1111/j.0006-341X.2001.00478.x; Sidik 2003, https://doi.org/10.1002/sim.1337).
The unknown rate of discordant samples is bounded by a confidence set, whose error is added (Berger and Boos 1994,
https://doi.org/10.1080/01621459.1994.10476836). Why the p-value is valid for every difference below the tested one: at a fixed number
of discordant samples the wins are binomial, and both their distribution and the score grow with the difference.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pipelines.core.errors import ConfigurationError
from pipelines.intervals import ProportionInterval, check_counts, clopper_pearson, tango_score

# Error of the confidence set for the discordance rate; part of every p-value, so none is smaller.
CONFIDENCE_SET_ERROR = 1e-5
# On the arcsine scale the tail probability varies over 1 / (2 sqrt n), and the set is some 9 of that wide: 7 points for each.
_N_GRID = 65
# Probability of discordant counts outside the summed range; added to the p-value.
_NEGLECTED = 1e-10
_BOUND_TOLERANCE = 1e-5
# Scores that differ by rounding alone are ties, and a tie counts as extreme.
_SCORE_TOLERANCE = 1e-9

Floats = NDArray[np.float64]


def difference_p_value(n_wins: int, n_losses: int, n: int, difference: float) -> float:
    """Exact one-sided p-value of H0: (candidate - champion) is at most `difference`.

    Args:
        n_wins: Right by the candidate alone.
        n_losses: Right by the champion alone; wins and losses together are at most n.
        n: Paired samples, at least 1.
        difference: In [-1, 1]; minus the margin for non-inferiority.

    Returns:
        In [0, 1]. Under H0 it is at most alpha with probability at most alpha, for every alpha, n and discordance rate.

    Raises:
        DataError: The counts are impossible.
    """
    check_counts(n, wins=n_wins, losses=n_losses)
    if difference >= 1:
        return 1.0
    if difference <= -1:  # only a champion that is always right and a candidate that is never right can be at -1
        return 1.0 if n_losses == n else 0.0
    return _p_value(n_wins, n_losses, n, difference)


@lru_cache(maxsize=65_536)
def _p_value(n_wins: int, n_losses: int, n: int, difference: float) -> float:
    rates = _discordance_rates(n_wins + n_losses, n, difference)
    if rates is None:
        return CONFIDENCE_SET_ERROR
    observed = float(tango_score(n_wins, n_losses, n, difference))
    discordant = _likely_counts(n, float(rates[0]), float(rates[-1]))
    fewest_wins = _fewest_extreme_wins(discordant, n, difference, observed)
    tail = float(_tail_probability(rates, discordant, fewest_wins, n, difference).max())
    return min(1.0, tail + CONFIDENCE_SET_ERROR + 2 * _NEGLECTED)


def _discordance_rates(n_discordant: int, n: int, difference: float) -> Floats | None:
    # [g], evenly spaced on the arcsine scale, on which a proportion's spread is the same everywhere. None: no rate that is plausible
    # under H0 allows a difference so far below 0.
    interval = clopper_pearson(n_discordant, n, 1 - CONFIDENCE_SET_ERROR)
    low = max(interval.low, -difference)
    if low > interval.high:
        return None
    angles = np.linspace(math.asin(math.sqrt(low)), math.asin(math.sqrt(interval.high)), _N_GRID)
    rates = np.clip(np.sin(angles) ** 2, low, interval.high)
    # Where H0 begins to allow losses the tail has a kink.
    return np.union1d(rates, [difference]) if low < difference < interval.high else np.asarray(rates)


def _likely_counts(n: int, lowest_rate: float, highest_rate: float) -> Floats:
    # Bernstein's inequality: P(|count - mean| >= reach) <= exp(-reach^2 / (2 variance + 2 reach / 3)) on each side.
    exponent = -math.log(_NEGLECTED)
    reaches = [exponent / 3 + math.sqrt(exponent**2 / 9 + 2 * exponent * n * rate * (1 - rate)) for rate in (lowest_rate, highest_rate)]
    low, high = math.floor(n * lowest_rate - reaches[0]), math.ceil(n * highest_rate + reaches[1])
    return np.arange(max(low, 0), min(high, n) + 1, dtype=np.float64)


def _fewest_extreme_wins(discordant: Floats, n: int, difference: float, observed: float) -> Floats:
    # [m], for each number of discordant samples the fewest wins with a score of `observed` or more; m + 1 where there are none.
    # The score grows with the wins, so bisection finds them for all m at once.
    too_few, enough = np.full_like(discordant, -1), discordant + 1
    for _ in range(int(math.log2(discordant[-1] + 2)) + 1):
        middle = np.floor((too_few + enough) / 2)
        wins = np.clip(middle, 0, discordant)
        extreme = tango_score(wins, discordant - wins, n, difference) >= observed - _SCORE_TOLERANCE
        open_ = enough - too_few > 1
        enough = np.where(open_ & extreme, middle, enough)
        too_few = np.where(open_ & ~extreme, middle, too_few)
    return enough


def _tail_probability(rates: Floats, discordant: Floats, fewest_wins: Floats, n: int, difference: float) -> Floats:
    # [g]: P(score >= observed) at each discordance rate, on the border of H0.
    from scipy.special import bdtrc, gammaln, xlog1py, xlogy

    # With fewer discordant samples than a positive difference needs, H0 allows that all of them are wins.
    win_shares = np.clip((rates + difference) / (2 * np.maximum(rates, 1e-300)), 0, 1)
    choose = gammaln(n + 1) - gammaln(discordant + 1) - gammaln(n - discordant + 1)
    log_weights = choose + xlogy(discordant, rates[:, None]) + xlog1py(n - discordant, -rates[:, None])
    weights = np.exp(log_weights)
    # What weighs nothing is not computed; all of it together is far below _NEGLECTED.
    tails = bdtrc(fewest_wins - 1, discordant.astype(np.int64), win_shares[:, None], where=weights > 1e-15, out=np.zeros_like(weights))
    return np.asarray((weights * tails).sum(axis=1))


def exact_bounds(n_wins: int, n_losses: int, n: int, level: float, *, threshold: float) -> ProportionInterval:
    """The difference with two exact one-sided bounds, each at `level`.

    Args:
        n_wins: Right by the candidate alone.
        n_losses: Right by the champion alone; wins and losses together are at most n.
        n: Paired samples, at least 1.
        level: In (0.5, 1).
        threshold: What the lower bound will be compared with: `low >= threshold` exactly where the p-value at it is at most 1 - level.

    Raises:
        DataError: The counts are impossible.
    """
    check_counts(n, wins=n_wins, losses=n_losses)
    low = _lower_bound(n_wins, n_losses, n, level, threshold)
    high = -_lower_bound(n_losses, n_wins, n, level, -threshold)
    return ProportionInterval((n_wins - n_losses) / n, low, high, n)


def _lower_bound(n_wins: int, n_losses: int, n: int, level: float, threshold: float) -> float:
    # Bisection keeps `excluded` a difference that the test excludes, and begins at the threshold: bound and p-value cannot disagree.
    if n_losses == n:
        return -1.0
    excluded, possible = -1.0, (n_wins - n_losses) / n
    trial = threshold if excluded < threshold < possible else (excluded + possible) / 2
    while possible - excluded > _BOUND_TOLERANCE:
        if difference_p_value(n_wins, n_losses, n, trial) <= 1 - level:
            excluded = trial
        else:
            possible = trial
        trial = (excluded + possible) / 2
    return excluded


@lru_cache(maxsize=256)
def smallest_n_for_a_tie(margin: float, level: float) -> int:
    """Samples from which a candidate that answers exactly as the champion is shown to be non-inferior.

    With fewer, no identical model could pass: without a single loss in n samples a loss rate of up to about 3 / n stays possible.

    Args:
        margin: In (0, 1].
        level: In (0.5, 1).

    Raises:
        ConfigurationError: The margin is 0: a tie never shows that a model is better.
    """
    if margin <= 0:
        raise ConfigurationError(
            got=f"a margin of {margin:g}.", allowed="a margin above 0.", next_step="set gates.beats_champion.margin, for example to 0.03."
        )
    # (1 - margin)^n <= 1 - level is necessary; the exact test may need a few more.
    n = 1 if margin >= 1 else math.ceil(math.log(1 - level) / math.log1p(-margin))
    while difference_p_value(0, 0, n, -margin) > 1 - level:
        n += 1
    return n
