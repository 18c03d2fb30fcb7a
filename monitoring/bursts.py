"""Requests that come in bursts of alike inputs are fewer pieces of evidence than they are requests.

Letters for shapes: m requests in the order of their times, e embedding size.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Neighbours up to 32 apart may belong together; those further apart say how unlike two requests usually are.
LONGEST_BURST = 32
# Correlations below are taken for noise: m of 100 and an embedding of a few independent numbers already stay below.
_LEAST_CORRELATION = 0.15
_MIN_REQUESTS = 3 * LONGEST_BURST
_MAX_REQUESTS, _MAX_COLUMNS = 2_000, 64


def burst_length(embeddings: NDArray[np.float64]) -> int:
    """How many requests in a row count as one: the design effect 1 + 2 (sum of the correlations at lags 1, 2, ...), rounded.

    The correlation at a lag is one minus the median squared distance of requests that far apart, over that of requests 33 to 40 apart. So a
    change in the middle of a window, or a slow one over the day, does not count as one long burst: both distances see it alike. Slower
    dependence is not corrected; it is a limit that docs/guides/monitoring.md names and measures.

    Args:
        embeddings: [m, e], oldest request first.

    Returns:
        1 for requests that do not depend on their neighbours, and for fewer than 96; at most 33.
    """
    if len(embeddings) < _MIN_REQUESTS:
        return 1
    embeddings = _fewer(embeddings)
    usual = float(np.mean([_distance(embeddings, lag) for lag in range(LONGEST_BURST + 1, LONGEST_BURST + 9)]))
    if usual <= 0:
        return 1
    effect = 1.0
    for lag in range(1, LONGEST_BURST + 1):
        correlation = 1 - _distance(embeddings, lag) / usual
        if correlation < _LEAST_CORRELATION:
            break
        effect += 2 * correlation
    return min(round(effect), LONGEST_BURST + 1)


def _fewer(embeddings: NDArray[np.float64]) -> NDArray[np.float64]:
    """The latest requests, wide embeddings by a fixed random projection, which keeps distances on average: bounded work for any window."""
    latest = embeddings[-_MAX_REQUESTS:]
    if latest.shape[1] <= _MAX_COLUMNS:
        return latest
    return np.asarray(latest @ np.random.default_rng(0).standard_normal((latest.shape[1], _MAX_COLUMNS)))


def _distance(embeddings: NDArray[np.float64], lag: int) -> float:
    """Median squared distance of the requests that lie `lag` apart: the few pairs on both sides of a sudden change do not count."""
    return float(np.median(((embeddings[lag:] - embeddings[:-lag]) ** 2).sum(axis=1)))
