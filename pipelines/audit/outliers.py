"""Samples that lie far from all others in feature space: a foreign picture, a broken scan, a lens cap.

Letters for shapes: n samples, d features.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipelines.training.scaling import shrunk_scaling

N_NEIGHBOURS = 10
# Chance that a data set without outliers has any finding, where the log distances have a normal tail.
FALSE_ALARM_RATE = 0.05
_MIN_N = 50
_UPPER_QUANTILE = 0.9


def outliers(features: NDArray[np.float32]) -> list[tuple[int, float]]:
    """Places of the outliers and their scores, the farthest first.

    The score is the mean distance to the 10 nearest neighbours, as a number of standard deviations of its logarithm above the median. The
    deviation is that of the upper half, taken from the 90 % quantile, so that outliers themselves do not widen it as long as they are
    fewer than a tenth. An outlier's score is beyond what the largest of n normal values exceeds with probability `FALSE_ALARM_RATE`.

    Args:
        features: [n, d], finite; with fewer than 50 samples nothing is said.
    """
    from scipy.special import ndtri
    from sklearn.neighbors import NearestNeighbors

    if len(features) < _MIN_N:
        return []
    scaled = shrunk_scaling(features).apply(features)
    distances, _ = NearestNeighbors(n_neighbors=N_NEIGHBOURS, algorithm="brute").fit(scaled).kneighbors()
    logarithms = np.log(np.maximum(distances.mean(axis=1), np.finfo(np.float32).tiny))
    middle, upper = np.quantile(logarithms, [0.5, _UPPER_QUANTILE])
    deviation = (upper - middle) / ndtri(_UPPER_QUANTILE)
    if deviation <= 0:
        return []
    scores = (logarithms - middle) / deviation
    limit = -ndtri(FALSE_ALARM_RATE / len(features))
    found = np.flatnonzero(scores > limit)
    return [(int(place), float(scores[place])) for place in found[np.argsort(-scores[found], kind="stable")]]
