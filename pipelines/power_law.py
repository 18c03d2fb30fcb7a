"""Power laws of an error rate over the number of training samples, many at once.

    error(n) = floor + scale * (n / n_largest) ** -exponent,    floor and scale at least 0

The usual shape of learning curves (Hestness et al. 2017, https://arxiv.org/abs/1712.00409; Viering and Loog 2021,
https://arxiv.org/abs/2103.10948, who also show curves that have another).

Letters for shapes: b curves, s sizes, e exponents on the grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

# For a fixed exponent the rest is least squares with two unknowns, so a grid finds the optimum without a start value. Exponents that were
# measured lie between 0.07 and 0.5 for losses; error rates of small sets fall faster.
EXPONENTS = np.geomspace(0.05, 2.0, 60)


@dataclass(frozen=True, eq=False)
class PowerLaws:
    """b fitted laws.

    Attributes:
        n_largest: Of the sizes that they were fitted to.
        floor, scale, exponent: [b]; the floor is the error that no number of samples goes below.
    """

    n_largest: float
    floor: Floats
    scale: Floats
    exponent: Floats

    def errors(self, sizes: ArrayLike) -> Floats:
        """[b, s]: what the laws say of these sizes."""
        shares = np.asarray(sizes, dtype=np.float64) / self.n_largest
        return np.asarray(self.floor[:, None] + self.scale[:, None] * shares[None, :] ** -self.exponent[:, None])


def fit_power_laws(sizes: ArrayLike, errors: Floats) -> PowerLaws:
    """Weighted least squares; the weights are those of counts, whose variance grows with their mean.

    Args:
        sizes: [s], above 0, at least 3.
        errors: [b, s], in [0, 1].
    """
    numbers = np.asarray(sizes, dtype=np.float64)
    powers = (numbers / numbers.max())[None, :] ** -EXPONENTS[:, None]
    weights = 1 / np.maximum(errors, errors.mean(axis=0, keepdims=True) / 2 + 1e-6)
    floor, scale = _nonnegative_lines(powers, errors, weights)
    residuals = errors[:, None] - floor[..., None] - scale[..., None] * powers
    best = (weights[:, None] * residuals**2).sum(axis=2).argmin(axis=1)
    rows = np.arange(len(errors))
    return PowerLaws(float(numbers.max()), floor[rows, best], scale[rows, best], EXPONENTS[best])


def _nonnegative_lines(powers: Floats, errors: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Floor and scale [b, e] for each curve and exponent.

    The optimum has both unknowns free, or one of them at 0: of a convex problem with two unknowns there is no other case.
    """
    total = weights.sum(axis=1)[:, None]
    of_power, of_square = weights @ powers.T, weights @ (powers**2).T
    of_error, of_both = (weights * errors).sum(axis=1)[:, None], (weights * errors) @ powers.T
    determinant = np.maximum(total * of_square - of_power**2, 1e-300)
    scale = (total * of_both - of_power * of_error) / determinant
    floor = (of_error - scale * of_power) / total
    without_floor = of_both / of_square
    floor, scale = np.where(floor < 0, 0.0, floor), np.where(floor < 0, without_floor, scale)
    return np.where(scale < 0, of_error / total, floor), np.maximum(scale, 0.0)
