"""CORAL: source features take on the target's second-order statistics, and a head is fitted on them.

Letters for shapes: n source samples, m target samples, d features.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.core.errors import DataError

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Alignment:
    """An affine map of source features to where the target's lie.

    Attributes:
        source_mean, source_spread: Of the source's features [d]; a feature that never changes has spread 1.
        matrix: [d, d], from standardised source features to standardised target features.
        target_mean, target_spread: Of the target's features [d].
    """

    source_mean: Floats
    source_spread: Floats
    matrix: Floats
    target_mean: Floats
    target_spread: Floats

    def apply(self, features: NDArray[np.floating]) -> NDArray[np.float32]:
        """Source features [n, d] as the target would have them."""
        standard = (np.asarray(features, dtype=np.float64) - self.source_mean) / self.source_spread
        return np.asarray(standard @ self.matrix * self.target_spread + self.target_mean, dtype=np.float32)


def coral_alignment(source: NDArray[np.floating], target: NDArray[np.floating], regularisation: float) -> Alignment:
    """The map after which the source's features have the target's means, spreads and covariance (CORAL, Sun et al. 2016).

    https://arxiv.org/abs/1511.05547, algorithm 1: with C = cov + regularisation * identity of features standardised in each domain, as
    their experiments do, z A = z C_source^(-1/2) C_target^(1/2). We differ in putting the target's own scale and mean back, so that a
    head fitted on aligned source features takes the target's features as they are, and what ships stays backbone and linear head.

    Args:
        source: [n, d], 2 samples at least.
        target: [m, d], 2 samples at least.
        regularisation: Above 0; of correlations, since features are standardised.

    Raises:
        DataError: A feature is not finite.
    """
    standard, means, spreads = zip(*(_standardised(np.asarray(values, dtype=np.float64)) for values in (source, target)), strict=True)
    ridge = regularisation * np.eye(source.shape[1])
    of_source, of_target = (np.atleast_2d(np.cov(values, rowvar=False)) + ridge for values in standard)
    return Alignment(means[0], spreads[0], _power(of_source, -0.5) @ _power(of_target, 0.5), means[1], spreads[1])


def _standardised(features: Floats) -> tuple[Floats, Floats, Floats]:
    if not np.isfinite(features).all():
        raise DataError(
            got=f"features that are not finite, of {int((~np.isfinite(features)).any(axis=1).sum())} samples.",
            allowed="finite features.",
            next_step="look at the training's record: the model that is adapted has gone wrong; lower its learning rate.",
        )
    mean, spread = features.mean(axis=0), features.std(axis=0, ddof=1)
    # A dead unit: nothing to align.
    spread = np.where(spread > 1e-12 * np.maximum(1.0, np.abs(mean)), spread, 1.0)
    return (features - mean) / spread, mean, spread


def _power(matrix: Floats, exponent: float) -> Floats:
    """Of a symmetric matrix whose eigenvalues are all above 0."""
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray((vectors * values**exponent) @ vectors.T)
