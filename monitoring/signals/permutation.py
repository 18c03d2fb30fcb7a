"""Permutation p-values. Exact at any sample size and with ties: under the null, reference and window are interchangeable."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

# No p-value is finer than one in a million; `monitoring.alarm_budget` lets no window be tested at a level that would need a finer one.
MAX_PERMUTATIONS = 1_000_000
_FIRST_CHUNK = 250
_LARGEST_CHUNK = 4_000
_N_EXCEEDANCES = 50
# A permutation that rebuilds the observed split must count as a tie although BLAS adds in another order.
_TIE_TOLERANCE = 1e-9


def permutation_p_value(
    observed: float, draw: Callable[[int], NDArray[np.float64]], n_permutations: int, n_exceedances: int = _N_EXCEEDANCES
) -> float:
    """Share of permutations whose statistic is at least the observed one.

    Stops early once `n_exceedances` of them are (Besag and Clifford 1991, https://doi.org/10.1093/biomet/78.2.301): the p-value is
    exact all the same, and unchanged traffic costs a few hundred permutations; only small p-values go deep.

    Args:
        observed: Statistic of the true split; larger means further apart.
        draw: Gives the statistics of that many new permutations, [count].
        n_permutations: At most so many are drawn.
        n_exceedances: 50 knows the p-value to a seventh of itself.

    Returns:
        (k + 1) / (n_permutations + 1) for k exceedances, or n_exceedances / draws where it stopped; in (0, 1].
    """
    at_least = observed - _TIE_TOLERANCE * max(1.0, abs(observed))
    n_drawn = n_found = 0
    chunk = _FIRST_CHUNK
    while n_drawn < n_permutations:
        count = min(chunk, n_permutations - n_drawn)
        found = np.cumsum(draw(count) >= at_least)
        if n_found + found[-1] >= n_exceedances:
            return n_exceedances / (n_drawn + int(np.searchsorted(found, n_exceedances - n_found)) + 1)
        n_drawn, n_found = n_drawn + count, n_found + int(found[-1])
        chunk = min(_LARGEST_CHUNK, 2 * chunk)
    return (n_found + 1) / (n_permutations + 1)


def draw_window_counts(totals: NDArray[np.int64], n_window: int, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """How often each distinct value falls into a window that is drawn from the pooled sample without replacement.

    Args:
        totals: int64 [u], occurrences of each distinct value in the pooled sample.
        n_window: Size of the window.
        count: Draws.
        rng: Source of the draws.

    Returns:
        int64 [count, u]; each row sums to `n_window`.
    """
    method: Literal["marginals", "count"] = "marginals" if len(totals) < n_window else "count"  # the cheaper of two exact algorithms
    return np.asarray(rng.multivariate_hypergeometric(totals, n_window, size=count, method=method), dtype=np.int64)
