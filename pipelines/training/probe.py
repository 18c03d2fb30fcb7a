"""The linear probe: regularised multinomial logistic regression on frozen features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.config import ProbeMethod
from pipelines.core.errors import DataError


@dataclass(frozen=True)
class Probe:
    """A linear head, d features to k labels.

    Attributes:
        weight: float32 [k, d].
        bias: float32 [k].
        strength: The chosen inverse L2 strength (scikit-learn's C).
        cross_validation: Mean log loss of each strength over the folds, in the order of the configuration.
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    strength: float
    cross_validation: tuple[float, ...]


def fit_probe(features: NDArray[np.float32], targets: NDArray[np.int64], n_classes: int, method: ProbeMethod, seed: int) -> Probe:
    """Fits the probe; its strength is chosen by cross-validated log loss on these samples alone.

    Features are standardised and the standardisation is folded into the weights, so that the head takes raw features.
    Same input, same output: L-BFGS on a convex problem has nothing random in it; `seed` orders the folds.

    Args:
        features: [n, d].
        targets: [n], in [0, n_classes); every class at least `method.folds` times.
        n_classes: k.
        method: Strengths and folds.
        seed: Of the fold assignment.

    Raises:
        DataError: A class has fewer samples than folds.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    _refuse_small_classes(targets, n_classes, method.folds)
    mean, scale = features.mean(axis=0), features.std(axis=0)
    scale = np.where(scale > 1e-6 * max(1.0, float(scale.max())), scale, 1.0)
    standardised = ((features - mean) / scale).astype(np.float64)
    folds = StratifiedKFold(method.folds, shuffle=True, random_state=seed)
    losses = tuple(
        -float(cross_val_score(LogisticRegression(C=c, max_iter=2_000), standardised, targets, cv=folds, scoring="neg_log_loss").mean())
        for c in method.strengths
    )
    strength = method.strengths[int(np.argmin(losses))]
    fitted = LogisticRegression(C=strength, max_iter=2_000).fit(standardised, targets)
    weight, bias = _both_rows(fitted.coef_, fitted.intercept_)
    weight = weight / scale
    return Probe(weight.astype(np.float32), (bias - weight @ mean).astype(np.float32), strength, losses)


def _both_rows(weight: NDArray[np.float64], bias: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    # For two classes scikit-learn keeps one row, the log odds; half of it on each side is the same softmax.
    if len(bias) == 1:
        return np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    return weight, bias


def _refuse_small_classes(targets: NDArray[np.int64], n_classes: int, n_folds: int) -> None:
    counts = np.bincount(targets, minlength=n_classes)
    small = np.flatnonzero(counts < n_folds)
    if small.size:
        raise DataError(
            got=f"{', '.join(f'{counts[index]} training samples of class number {index}' for index in small)}.",
            allowed=f"at least {n_folds} training samples of every class, one for each fold.",
            next_step="label more of them, remove the class from labels, or lower method.folds (2 at least).",
        )
