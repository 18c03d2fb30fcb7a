"""The scale of features before a linear method: centred, and divided by their shrunk standard deviation.

Letters for shapes: n samples, d features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.core.errors import DataError

# In between, values are in float64: of so many rows at a time.
_N_ROWS_AT_ONCE = 4_096


@dataclass(frozen=True)
class Scaling:
    """An affine map of each feature.

    Attributes:
        mean: [d].
        scale: [d], above 0.
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]

    def apply(self, features: NDArray[Any], dtype: Any = np.float32) -> NDArray[Any]:
        """The scaled features [n, d]."""
        features = np.asarray(features)
        scaled = np.empty_like(features, dtype=dtype)
        for start in range(0, len(features), _N_ROWS_AT_ONCE):
            rows = slice(start, start + _N_ROWS_AT_ONCE)
            scaled[rows] = (np.asarray(features[rows], dtype=np.float64) - self.mean) / self.scale
        return scaled

    def fold_into(self, weight: NDArray[np.float64], bias: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The linear map [k, d], [k] of unscaled features that equals this one of scaled features."""
        unscaled = weight / self.scale
        return unscaled, bias - unscaled @ self.mean


def shrunk_scaling(features: NDArray[Any]) -> Scaling:
    """Centres each feature and divides it by sqrt(its variance + the mean variance of all).

    Plain standardisation blows up features that hardly vary among few samples, such as units of a ReLU that fire for one of them.

    Args:
        features: [n, d].

    Raises:
        DataError: A feature is not finite.
    """
    refuse_not_finite(features)
    precise = np.array(features, dtype=np.float64)
    mean = precise.mean(axis=0)
    # As precise.var(axis=0) to the bit, which takes a second copy.
    precise -= mean
    precise *= precise
    variances = precise.mean(axis=0)
    average = float(variances.mean())
    return Scaling(mean, np.sqrt(variances + average) if average > 0 else np.ones_like(variances))


def refuse_not_finite(features: NDArray[Any]) -> None:
    """Raises where a network overflowed.

    Raises:
        DataError: A feature is not finite; says of how many samples.
    """
    finite = np.isfinite(features).all(axis=1)
    if not finite.all():
        raise DataError(
            got=f"features that are not finite, of {int((~finite).sum())} in {len(features)} samples.",
            allowed="finite features.",
            next_step="check the backbone's weights and its preprocessing.",
        )
