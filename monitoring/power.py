"""How many requests a window needs for its tests to be of use."""

from __future__ import annotations

import math

from monitoring.signals.run import N_FAMILIES

# Worth finding: a number whose distribution function moved by 0.3, for example by 0.76 standard deviations of a normal one.
USEFUL_SHIFT = 0.3
USEFUL_POWER = 0.8
LARGEST_N = 1_000_000


def n_requests_needed(level: float, n_reference: int, n_statistics: int) -> int | None:
    """Requests at which an input statistic that moved by 0.3 is found in at least four windows of five.

    The Kolmogorov-Smirnov test at its strictest threshold within the level, by its limit distribution (one-term). Counted at the place of
    the largest gap alone, with the noise of a proportion of one half, so the power is higher than that.

    Args:
        level: Of the window's tests, all together.
        n_reference: Samples of the reference.
        n_statistics: Input statistics.

    Returns:
        None where no number of requests makes up for so small a reference.
    """
    from scipy.stats import norm

    threshold = level / N_FAMILIES / n_statistics
    critical = math.sqrt(-math.log(threshold / 2) / 2)
    # n m / (n + m) must reach this.
    effective = ((critical + float(norm.ppf(USEFUL_POWER)) / 2) / USEFUL_SHIFT) ** 2
    if effective >= n_reference:
        return None
    n_needed = math.ceil(effective * n_reference / (n_reference - effective))
    return n_needed if n_needed <= LARGEST_N else None
