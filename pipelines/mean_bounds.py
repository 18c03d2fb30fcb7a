"""One-sided bounds of a mean loss that is a sum of many small, unequal contributions: macro-F1, AUROC, calibration.

A bootstrap or a normal bound is too narrow where few contributions say anything: near a loss of 0 it has no width at all. Fay and Feuer
(1997, Confidence intervals for directly standardized rates, Statistics in Medicine 16:791) bound a weighted sum of Poisson counts from
above by a gamma distribution whose mean and variance are those of the sum after one more event of the heaviest weight. Here it is a beta
distribution, because a loss lies in [0, 1]: for n equal weights it comes near to the exact bound of Clopper and Pearson, and is not below
it. There is no proof, as there is none of theirs; its error is measured (benchmarks/gate_power_metrics.py and the tests of the gates).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def upper_bound(loss: ArrayLike, variance: ArrayLike, heaviest: ArrayLike, level: float) -> Floats:
    """The upper bound of the true loss.

    Args:
        loss: The estimate, in [0, 1]; any shape.
        variance: Of the estimate.
        heaviest: What one more sample, as wrong as can be, would add to the loss.
        level: One-sided, in (0.5, 1).

    Returns:
        In [0, 1]; 1 where the loss can be anything.
    """
    from scipy.special import betaincinv

    first, second, is_open = _beta(np.add(loss, heaviest), np.add(variance, np.square(heaviest)))
    return np.where(is_open, 1.0, betaincinv(first, second, level))


def lower_bound(loss: ArrayLike, variance: ArrayLike, level: float) -> Floats:
    """The lower bound of the true loss, in [0, 1]; 0 where nothing was lost. Arguments as for `upper_bound`."""
    from scipy.special import betaincinv

    first, second, is_open = _beta(np.asarray(loss, dtype=np.float64), np.asarray(variance, dtype=np.float64))
    return np.where(is_open, 0.0, betaincinv(first, second, 1 - level))


def p_value(loss: float, variance: float, heaviest: float, limit: float) -> float:
    """Of the null hypothesis that the true loss is above `limit`: 1 - the highest level whose upper bound is `limit` or less."""
    from scipy.special import betaincc

    first, second, is_open = _beta(np.add(loss, heaviest), np.add(variance, np.square(heaviest)))
    if is_open:
        return 0.0 if limit >= 1 else 1.0
    return float(betaincc(first, second, limit))


def _beta(mean: Any, variance: Any) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Shape parameters by mean and variance, and where there are none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        size = mean * (1 - mean) / variance - 1
    is_open = ~((mean > 0) & (mean < 1) & (variance > 0) & (size > 0))
    size = np.where(is_open, 1.0, size)
    inside = np.where(is_open, 0.5, mean)
    return inside * size, (1 - inside) * size, is_open
