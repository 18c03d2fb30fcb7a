from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import check_grad
from sklearn.linear_model import LogisticRegression

from pipelines.training.logistic import Linear, LogisticProblem, sigmoid_loss, softmax_loss


def blobs(n: int, d: int, n_classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    targets = np.arange(n) % n_classes
    return rng.normal(size=(n, d)) + rng.normal(size=(n_classes, d))[targets], targets


def start(k: int, d: int) -> Linear:
    return Linear(np.zeros((k, d)), np.zeros(k))


def gradient_norm(problem: LogisticProblem, strength: float, solution: Linear) -> float:
    """Largest derivative of the objective, written out."""
    derivatives = strength * problem.sample_weights * problem.link(solution.logits(problem.features), problem.targets)[1]
    return max(np.abs(derivatives.T @ problem.features + solution.weight).max(), np.abs(derivatives.sum(axis=0)).max())


@pytest.mark.parametrize(("n", "d"), [(60, 5), (20, 50)])
@pytest.mark.parametrize("strength", [0.01, 1.0, 100.0])
def test_softmax_equals_scikit_learn(n: int, d: int, strength: float) -> None:
    features, targets = blobs(n, d, 3, seed=n)
    problem = LogisticProblem(features, np.eye(3)[targets], np.ones((n, 1)), softmax_loss)
    solution = problem.minimise(strength, start(3, d), gradient_tolerance=1e-9)
    expected = LogisticRegression(C=strength, tol=1e-12, max_iter=10_000).fit(features, targets)
    np.testing.assert_allclose(solution.weight, expected.coef_, atol=1e-4)
    np.testing.assert_allclose(solution.bias - solution.bias.mean(), expected.intercept_ - expected.intercept_.mean(), atol=1e-4)
    assert gradient_norm(problem, strength, solution) <= 1e-9 * strength * n


@pytest.mark.parametrize("strength", [0.01, 1.0, 100.0])
def test_the_default_tolerance_leaves_no_more_than_a_millionth_of_gradient(strength: float) -> None:
    features, targets = blobs(60, 20, 3, seed=9)
    problem = LogisticProblem(features, np.eye(3)[targets], np.ones((60, 1)), softmax_loss)
    near, exact = (problem.minimise(strength, start(3, 20), gradient_tolerance=tolerance) for tolerance in (1e-6, 1e-11))
    assert gradient_norm(problem, strength, near) <= 1e-6 * strength * 60
    losses = [softmax_loss(solution.logits(features), problem.targets)[0].mean() for solution in (near, exact)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)


def test_sigmoid_equals_one_scikit_learn_fit_for_each_column() -> None:
    features, targets = blobs(80, 6, 4, seed=1)
    columns = np.stack([targets == 0, targets > 1, np.arange(80) % 7 == 0], axis=1).astype(float)
    weights = np.random.default_rng(0).uniform(0.5, 2, (80, 3))
    solution = LogisticProblem(features, columns, weights, sigmoid_loss).minimise(0.7, start(3, 6))
    for column in range(3):
        expected = LogisticRegression(C=0.7, tol=1e-12, max_iter=10_000).fit(features, columns[:, column], weights[:, column])
        np.testing.assert_allclose(solution.weight[column], expected.coef_[0], atol=1e-4)
        np.testing.assert_allclose(solution.bias[column], expected.intercept_[0], atol=1e-4)


@pytest.mark.parametrize("link", [softmax_loss, sigmoid_loss])
def test_derivatives_are_those_of_the_losses(link: object) -> None:
    rng = np.random.default_rng(0)
    targets = np.eye(4)[rng.integers(4, size=5)]
    error = check_grad(
        lambda flat: float(link(flat.reshape(5, 4), targets)[0].sum()),  # type: ignore[operator]
        lambda flat: link(flat.reshape(5, 4), targets)[1].ravel(),  # type: ignore[operator]
        rng.normal(size=20),
    )
    assert error < 1e-5


@pytest.mark.parametrize("link", [softmax_loss, sigmoid_loss])
def test_extreme_logits_overflow_nowhere(link: object) -> None:
    losses, derivatives = link(np.array([[1e4, -1e4, 0.0]]), np.array([[0.0, 1.0, 0.0]]))  # type: ignore[operator]
    assert losses.sum() == pytest.approx(2e4, abs=1)
    assert np.isfinite(derivatives).all()


@pytest.mark.parametrize("n_classes", [3, 5])
def test_the_reduction_to_the_span_of_few_samples_changes_nothing(n_classes: int) -> None:
    features, targets = blobs(30, 200, n_classes, seed=2)
    problem = LogisticProblem(features, np.eye(n_classes)[targets], np.ones((30, 1)), softmax_loss)
    smaller, expand = problem.reduced()
    assert smaller.features.shape == (30, 30)
    np.testing.assert_allclose(
        expand(smaller.minimise(0.3, start(n_classes, 30))).weight, problem.minimise(0.3, start(n_classes, 200)).weight, atol=1e-5
    )


def test_many_samples_are_not_reduced() -> None:
    features, targets = blobs(30, 8, 3, seed=3)
    problem = LogisticProblem(features, np.eye(3)[targets], np.ones((30, 1)), softmax_loss)
    smaller, expand = problem.reduced()
    assert smaller is problem
    solution = start(3, 8)
    assert expand(solution) is solution


def test_float32_products_find_the_same_minimum() -> None:
    features, targets = blobs(200, 20, 3, seed=4)
    exact, rough = (
        LogisticProblem(features.astype(dtype), np.eye(3)[targets], np.ones((200, 1)), softmax_loss).minimise(
            1.0, start(3, 20), loss_tolerance=tolerance
        )
        for dtype, tolerance in ((np.float64, 0.0), (np.float32, 1e-6))
    )
    probabilities = [softmax_loss(solution.logits(features), np.eye(3)[targets])[0].mean() for solution in (exact, rough)]
    assert probabilities[0] == pytest.approx(probabilities[1], rel=1e-2)
