"""L2-regularised logistic regression: the convex problem and its minimum.

Letters for shapes: n samples, d features, k columns of logits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# From logits and targets [n, k] to losses [n, 1] or [n, k] and to their derivatives by the logits [n, k].
Link = Callable[[Floats, Floats], tuple[Floats, Floats]]


@dataclass(frozen=True)
class Linear:
    """A linear map from features to logits: weight [k, d], bias [k]."""

    weight: Floats
    bias: Floats

    def logits(self, features: NDArray[Any]) -> Floats:
        """float64 [n, k], multiplied in the features' own precision."""
        return np.asarray((features @ self.weight.T.astype(features.dtype)).astype(np.float64) + self.bias)


@dataclass(frozen=True)
class LogisticProblem:
    """strength * sum of weighted losses + half the squared length of all weights; biases are free. scikit-learn's form and its C.

    Attributes:
        features: [n, d], standardised; float32 computes the products in float32.
        targets: 0/1 [n, k].
        sample_weights: [n, 1], or [n, k] for a weight of its own in every column.
        link: `softmax_loss` or `sigmoid_loss`.
    """

    features: NDArray[Any]
    targets: Floats
    sample_weights: Floats
    link: Link

    def minimise(self, strength: float, start: Linear, gradient_tolerance: float = 1e-6, loss_tolerance: float = 0.0) -> Linear:
        """The minimum, by SciPy's L-BFGS: nothing random in it.

        Args:
            strength: Above 0.
            start: Of the search, for example the minimum at a neighbouring strength.
            gradient_tolerance: Ends the search below this largest derivative of the mean loss; scikit-learn's default is 1e-4.
            loss_tolerance: Ends it where a step gains less than this share of the objective.
        """
        from scipy.optimize import minimize

        shape = (len(start.bias), start.weight.shape[1] + 1)

        def objective(flat: Floats) -> tuple[float, Floats]:
            weight, bias = flat.reshape(shape)[:, :-1], flat.reshape(shape)[:, -1]
            losses, derivatives = self.link(Linear(weight, bias).logits(self.features), self.targets)
            derivatives *= strength * self.sample_weights
            gradient = np.empty(shape)
            gradient[:, :-1] = derivatives.T.astype(self.features.dtype) @ self.features
            gradient[:, :-1] += weight
            gradient[:, -1] = derivatives.sum(axis=0)
            return strength * float((losses * self.sample_weights).sum()) + 0.5 * float(np.vdot(weight, weight)), gradient.ravel()

        options = {
            "maxiter": 5_000,
            "maxfun": 10_000,
            "gtol": gradient_tolerance * strength * float(self.sample_weights.sum()) / self.sample_weights.shape[1],
            "ftol": loss_tolerance,
        }
        flat = np.concatenate([start.weight, start.bias[:, None]], axis=1).ravel()
        found = minimize(objective, flat, jac=True, method="L-BFGS-B", options=options).x.reshape(shape)
        return Linear(found[:, :-1].copy(), found[:, -1].copy())

    def reduced(self) -> tuple[LogisticProblem, Callable[[Linear], Linear]]:
        """The same problem in the span of the samples, and the way back.

        The optimal weights lie in that span (the representer theorem), and an orthonormal basis of it keeps their length: nothing is
        approximated, and with few samples the problem is far smaller. Where that gains nothing it is the problem itself.
        """
        n, d = self.features.shape
        if 2 * n > d:
            return self, lambda solution: solution
        basis, coordinates = np.linalg.qr(self.features.T.astype(np.float64))
        smaller = LogisticProblem(np.ascontiguousarray(coordinates.T), self.targets, self.sample_weights, self.link)
        return smaller, lambda solution: Linear(solution.weight @ basis.T, solution.bias)


def softmax_loss(logits: Floats, targets: Floats) -> tuple[Floats, Floats]:
    """Cross entropy [n, 1] of exactly one label a sample, and its derivatives."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    totals = exponentials.sum(axis=1, keepdims=True)
    return np.log(totals) - (shifted * targets).sum(axis=1, keepdims=True), exponentials / totals - targets


def sigmoid_loss(logits: Floats, targets: Floats) -> tuple[Floats, Floats]:
    """Binary cross entropy [n, k] of each column by itself, and its derivatives."""
    from scipy.special import expit

    return np.logaddexp(0.0, logits) - targets * logits, expit(logits) - targets
