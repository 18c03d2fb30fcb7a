"""Many signals, one false-alarm rate."""

from __future__ import annotations

from collections.abc import Sequence


def holm_cutoff(p_values: Sequence[float], level: float) -> float:
    """The one cut-off that gives Holm's decisions (Holm 1979, https://www.jstor.org/stable/4615733): drifted where p <= cut-off.

    If r of q hypotheses are rejected, the next smallest p-value lies above level / (q - r), and the r-th lies below it.

    Args:
        p_values: Of one family, q of them.
        level: Chance of any rejection in the family when nothing has changed.

    Returns:
        level / (q - r), or `level` where all are rejected.
    """
    n_rejected = 0
    for p_value in sorted(p_values):
        if p_value > level / (len(p_values) - n_rejected):
            break
        n_rejected += 1
    return level / max(1, len(p_values) - n_rejected)
