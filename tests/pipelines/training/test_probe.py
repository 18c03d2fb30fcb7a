from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from pipelines.config import ProbeMethod
from pipelines.core.errors import DataError
from pipelines.core.heads import softmax
from pipelines.training.probe import fit_probe


def blobs(n_classes: int, n_per_class: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    targets = np.repeat(np.arange(n_classes), n_per_class)
    features = rng.normal(size=(len(targets), 5)) * [1, 10, 0.1, 1, 1] + np.eye(5)[targets % 5] * 2 + 3
    return features.astype(np.float32), targets


@pytest.mark.parametrize("n_classes", [2, 3])
def test_equals_an_independent_optimum(n_classes: int) -> None:
    """The same penalised likelihood, written down here and minimised by SciPy."""
    features, targets = blobs(n_classes, 30, seed=0)
    strength = 0.5
    probe = fit_probe(features, targets, n_classes, ProbeMethod(kind="probe", strengths=(strength,)), seed=0)
    standardised = (features - features.mean(0)) / features.std(0)

    def loss(flat: np.ndarray) -> float:
        if n_classes == 2:  # scikit-learn's binary form penalises the one row of log odds
            weight, bias = np.stack([-flat[:5] / 2, flat[:5] / 2]), np.array([-flat[5] / 2, flat[5] / 2])
            penalty = (flat[:5] ** 2).sum() / 2
        else:
            weight, bias = flat[: n_classes * 5].reshape(n_classes, 5), flat[n_classes * 5 :]
            penalty = (weight**2).sum() / 2
        probabilities = softmax(standardised @ weight.T + bias)
        return float(-strength * np.log(probabilities[np.arange(len(targets)), targets]).sum() + penalty)

    optimum = minimize(loss, np.zeros(6 if n_classes == 2 else n_classes * 6), method="BFGS", options={"gtol": 1e-7}).x
    if n_classes == 2:
        weight, bias = np.stack([-optimum[:5] / 2, optimum[:5] / 2]), np.array([-optimum[5] / 2, optimum[5] / 2])
    else:
        weight, bias = optimum[: n_classes * 5].reshape(n_classes, 5), optimum[n_classes * 5 :]
    expected = softmax(standardised @ weight.T + bias)
    np.testing.assert_allclose(softmax(features @ probe.weight.T + probe.bias), expected, atol=2e-3)


def test_same_input_same_output() -> None:
    features, targets = blobs(3, 20, seed=1)
    first, second = (fit_probe(features, targets, 3, ProbeMethod(kind="probe"), seed=4) for _ in range(2))
    np.testing.assert_array_equal(first.weight, second.weight)
    assert first.cross_validation == second.cross_validation


def test_the_strength_with_the_least_cross_validated_loss_is_taken() -> None:
    features, targets = blobs(3, 20, seed=2)
    probe = fit_probe(features, targets, 3, ProbeMethod(kind="probe", strengths=(1e-6, 1.0)), seed=0)
    assert probe.strength == 1.0
    assert probe.cross_validation[1] < probe.cross_validation[0]


def test_a_constant_feature_does_no_harm() -> None:
    features, targets = blobs(2, 20, seed=3)
    features[:, 2] = 7
    probe = fit_probe(features, targets, 2, ProbeMethod(kind="probe"), seed=0)
    assert np.isfinite(probe.weight).all()


def test_too_few_samples_of_a_class_are_named() -> None:
    features, targets = blobs(3, 20, seed=4)
    keep = (targets != 1) | (np.arange(len(targets)) < 22)
    with pytest.raises(DataError, match="2 training samples of class number 1"):
        fit_probe(features[keep], targets[keep], 3, ProbeMethod(kind="probe", folds=3), seed=0)
