"""The linear probe: regularised logistic regression on frozen features, its strength chosen by cross-validation.

Letters for shapes: n samples, d features, k labels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.config import ProbeMethod
from pipelines.core.errors import DataError
from pipelines.training.blas_threads import one_thread_for_few
from pipelines.training.folds import fold_numbers, n_usable_folds
from pipelines.training.label_counts import refuse_rare_labels
from pipelines.training.logistic import Linear, Link, LogisticProblem, sigmoid_loss, softmax_loss
from pipelines.training.scaling import shrunk_scaling

Floats = NDArray[np.float64]
# Of the losses that choose between strengths: a thousandth of a loss decides nothing, and the products may then be in float32.
_LOSS_TOLERANCE = 1e-6
# A strength that is worse than the best before it in every fold, and by this share in all, ends the search.
_HOPELESS_FRAC = 0.1


@dataclass(frozen=True)
class Probe:
    """A linear head, d features to k labels.

    Attributes:
        weight: float32 [k, d].
        bias: float32 [k].
        strength: The chosen inverse L2 strength (scikit-learn's C).
        cross_validation: Mean log loss of each strength on the samples held out, in the order of the configuration; None where a weaker
            regularisation was not tried, because the one before was far worse already, and where there is but one strength.
        n_folds: Of that cross-validation; 0 where there is but one strength.
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    strength: float
    cross_validation: tuple[float | None, ...]
    n_folds: int


def fit_probe(features: NDArray[np.float32], targets: NDArray[Any], labels: Sequence[str], method: ProbeMethod, seed: int) -> Probe:
    """Fits the probe; its strength is chosen by cross-validated log loss on these samples alone.

    The objective is scikit-learn's (for two labels that of the log odds, for many labels a sample one for each label, all of one
    strength) on features scaled by `shrunk_scaling`, of which a fold uses its own training samples alone; the scaling is folded into
    the weights, so that the head takes raw features. `balanced` weights count in the cross-validated loss too. Where a label has fewer
    samples than `method.folds`, there are as many folds as it has samples; with one strength there is no cross-validation. Same input,
    same output: L-BFGS on a convex problem has nothing random in it; `seed` orders the folds.

    Args:
        features: [n, d].
        targets: One label a sample: [n], its index; every label at least twice, or once with one strength. Many: [n, k] of 0 and 1; every
            label both ways.
        labels: The k names.
        method: Strengths, folds and class weights.
        seed: Of the fold assignment.

    Raises:
        DataError: Labels have too few samples, which are named; or a feature is not finite.
    """
    n_folds = _n_folds(targets, labels, method)
    task = _task(targets, len(labels), method)
    with one_thread_for_few(features.size):
        losses = _cross_validated(features, task, _held_out(targets, n_folds, seed), sorted(method.strengths))
        strength = min(losses, key=lambda tried: (losses[tried], tried)) if losses else method.strengths[0]
        scaling = shrunk_scaling(features)
        solution = _minimum(scaling.apply(features, np.float64), task, strength)
        weight, bias = scaling.fold_into(*_both_rows(solution, len(labels)))
    tried = tuple(losses.get(value) for value in method.strengths)
    return Probe(weight.astype(np.float32), bias.astype(np.float32), strength, tried, n_folds)


@dataclass(frozen=True)
class _Task:
    """Targets as columns [n, k], or [n, 1] of the log odds for two labels; weights for some of the rows; the loss."""

    columns: Floats
    weights: Callable[[Floats], Floats]
    link: Link

    def problem(self, scaled: NDArray[Any], rows: NDArray[np.bool_]) -> LogisticProblem:
        return LogisticProblem(scaled, self.columns[rows], self.weights(self.columns[rows]), self.link)


@dataclass
class _Fold:
    """One fold's problem, its latest solution, and the samples it holds out: features, columns and weights."""

    problem: LogisticProblem
    expand: Callable[[Linear], Linear]
    solution: Linear
    held_out: tuple[NDArray[Any], Floats, Floats]

    def advance(self, strength: float) -> tuple[float, float]:
        """The weighted sum of the losses on what is held out, and the sum of the weights."""
        self.solution = self.problem.minimise(strength, self.solution, loss_tolerance=_LOSS_TOLERANCE)
        features, columns, weights = self.held_out
        losses, _ = self.problem.link(self.expand(self.solution).logits(features), columns)
        return float((losses * weights).sum()), float(weights.sum())


def _task(targets: NDArray[Any], n_labels: int, method: ProbeMethod) -> _Task:
    balanced = method.class_weights == "balanced"
    if np.ndim(targets) == 2:
        return _Task(np.asarray(targets, dtype=np.float64), _binary_weights if balanced else np.ones_like, sigmoid_loss)
    if n_labels == 2:
        return _Task((targets[:, None] == 1).astype(np.float64), _binary_weights if balanced else np.ones_like, sigmoid_loss)
    columns = np.eye(n_labels)[targets]
    return _Task(columns, _class_weights if balanced else lambda some: np.ones((len(some), 1)), softmax_loss)


def _class_weights(columns: Floats) -> Floats:
    # Each label counts n / k; a label without samples has none to weigh.
    per_label = len(columns) / (columns.shape[1] * np.maximum(columns.sum(axis=0), 1))
    return np.asarray(columns @ per_label)[:, None]


def _binary_weights(columns: Floats) -> Floats:
    n, positive = len(columns), columns.sum(axis=0)
    return np.asarray(np.where(columns > 0, n / (2 * np.maximum(positive, 1)), n / (2 * np.maximum(n - positive, 1))))


def _n_folds(targets: NDArray[Any], labels: Sequence[str], method: ProbeMethod) -> int:
    if len(method.strengths) > 1:
        return n_usable_folds(targets, labels, method.folds)
    # Nothing is to be chosen.
    refuse_rare_labels(targets, labels)
    return 0


def _held_out(targets: NDArray[Any], n_folds: int, seed: int) -> list[NDArray[np.bool_]]:
    if n_folds == 0:
        return []
    numbers = fold_numbers(targets, n_folds, seed)
    return [numbers == number for number in range(n_folds)]


def _fold(features: NDArray[np.float32], task: _Task, held_out: NDArray[np.bool_]) -> _Fold:
    training = features[~held_out]
    scaling = shrunk_scaling(training)
    problem = task.problem(scaling.apply(training), ~held_out)
    # A column that is constant in a fold's training samples teaches nothing there, and its bias would go to infinity.
    learnable = np.ptp(problem.targets, axis=0) > 0
    used = learnable if task.link is sigmoid_loss else 1.0
    reduced, expand = replace(problem, sample_weights=problem.sample_weights * used).reduced()
    counted = task.weights(task.columns)[held_out] * used
    return _Fold(reduced, expand, _start(reduced), (scaling.apply(features[held_out]), task.columns[held_out], counted))


def _cross_validated(
    features: NDArray[np.float32], task: _Task, held_out: Sequence[NDArray[np.bool_]], strengths: Sequence[float]
) -> dict[float, float]:
    # The folds' copies of the features, as many as there are folds, are gone when this returns.
    folds = [_fold(features, task, fold) for fold in held_out]
    return _cross_validate(folds, strengths) if folds else {}


def _cross_validate(folds: Sequence[_Fold], strengths: Sequence[float]) -> dict[float, float]:
    """Mean held-out loss of each strength tried, from the strongest regularisation to weaker ones, each starting at the one before."""
    losses: dict[float, float] = {}
    best: Floats = np.full(len(folds), np.inf)
    for strength in strengths:
        sums = np.array([fold.advance(strength) for fold in folds])
        losses[strength] = _mean_loss(sums)
        if losses[strength] <= min(losses.values()):
            best = sums[:, 0]
        elif (sums[:, 0] > best).all() and losses[strength] > (1 + _HOPELESS_FRAC) * min(losses.values()):
            break
    return losses


def _mean_loss(sums: Floats) -> float:
    total, weight = sums.sum(axis=0)
    if weight == 0:
        raise DataError(
            got="so few training samples that no fold can learn a label and judge it.",
            allowed="for at least one label two training samples with it and two without.",
            next_step="label more samples.",
        )
    return float(total / weight)


def _minimum(scaled: Floats, task: _Task, strength: float) -> Linear:
    # From zero, not from the folds' solutions: the head depends on the chosen strength, not on which others were tried.
    exact, expand = task.problem(scaled, np.ones(len(scaled), dtype=np.bool_)).reduced()
    rough = replace(exact, features=exact.features.astype(np.float32))
    near = rough.minimise(strength, _start(exact), loss_tolerance=_LOSS_TOLERANCE)
    del rough
    return expand(exact.minimise(strength, near))


def _start(problem: LogisticProblem) -> Linear:
    k, d = problem.targets.shape[1], problem.features.shape[1]
    return Linear(np.zeros((k, d)), np.zeros(k))


def _both_rows(solution: Linear, n_labels: int) -> tuple[Floats, Floats]:
    # Two labels have one row, the log odds; half of it on each side is the same softmax.
    if len(solution.bias) == 1 and n_labels == 2:
        return np.concatenate([-solution.weight, solution.weight]) / 2, np.concatenate([-solution.bias, solution.bias]) / 2
    return solution.weight, solution.bias
