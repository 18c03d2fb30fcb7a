from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.covariance import LedoitWolf

from pipelines.core.errors import DataError
from pipelines.training.ranking import h_score, log_me, order_by_transferability

SHAPES = [(40, 6), (25, 25), (10, 16)]


def task(n: int, d: int, n_classes: int, seed: int, signal: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    targets = np.arange(n) % n_classes
    return rng.normal(size=(n, d)) * rng.uniform(0.2, 3, d) + signal * rng.normal(size=(n_classes, d))[targets] + 1, targets


def log_evidence(features: np.ndarray, y: np.ndarray, alpha: float, beta: float) -> float:
    """Formula 2 of https://arxiv.org/abs/2102.11005, word for word, with an explicit inverse."""
    n, d = features.shape
    a = alpha * np.eye(d) + beta * features.T @ features
    m = beta * np.linalg.inv(a) @ features.T @ y
    return float(
        n / 2 * np.log(beta)
        + d / 2 * np.log(alpha)
        - n / 2 * np.log(2 * np.pi)
        - beta / 2 * ((features @ m - y) ** 2).sum()
        - alpha / 2 * m @ m
        - np.linalg.slogdet(a)[1] / 2
    )


def slow_log_me(features: np.ndarray, columns: np.ndarray) -> float:
    """Each label's evidence, maximised over (log alpha, log beta) from several starts."""

    def best(y: np.ndarray) -> float:
        starts = itertools.product((-3.0, 2.0), (0.0, 3.0))
        options = {"xatol": 1e-9, "fatol": 1e-13, "maxiter": 5_000, "maxfev": 5_000}
        box = [(-25.0, 25.0)] * 2

        def negative(logs: np.ndarray) -> float:
            return -log_evidence(features, y, *np.exp(logs))

        return -min(minimize(negative, start, method="Nelder-Mead", bounds=box, options=options).fun for start in starts) / len(y)

    return float(np.mean([best(column) for column in columns.T.astype(float)]))


def slow_fixed_point(features: np.ndarray, y: np.ndarray) -> float:
    """Algorithm 1 of the paper with explicit inverses, run until nothing moves."""
    n, d = features.shape
    alpha, beta = 1.0, 1.0
    for _ in range(3_000):
        inverse = np.linalg.inv(alpha * np.eye(d) + beta * features.T @ features)
        m = beta * inverse @ features.T @ y
        gamma = d - alpha * np.trace(inverse)
        alpha, beta = gamma / (m @ m), (n - gamma) / ((features @ m - y) ** 2).sum()
    return log_evidence(features, y, alpha, beta) / n


def slow_h_score(features: np.ndarray, targets: np.ndarray) -> float:
    """tr((shrunk covariance)^-1 (1 - a) cov(class means)), with scikit-learn's Ledoit-Wolf and an explicit inverse."""
    estimate = LedoitWolf().fit(features)
    centred = features - features.mean(axis=0)
    means = np.stack([centred[targets == target].mean(axis=0) for target in targets])
    between = (1 - estimate.shrinkage_) * means.T @ means / len(targets)
    return float(np.trace(np.linalg.inv(estimate.covariance_) @ between))


@pytest.mark.parametrize(("n", "d"), SHAPES)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_log_me_is_the_maximum_of_the_written_out_evidence(n: int, d: int, n_classes: int) -> None:
    features, targets = task(n, d, n_classes, seed=n)
    assert log_me(features, targets) == pytest.approx(slow_log_me(features, np.eye(n_classes)[targets]), abs=1e-8)


@pytest.mark.parametrize(("n", "d"), SHAPES[:2])
def test_log_me_is_where_the_papers_fixed_point_ends(n: int, d: int) -> None:
    features, targets = task(n, d, 3, seed=5)
    expected = np.mean([slow_fixed_point(features, column) for column in np.eye(3)[targets].T])
    assert log_me(features, targets) == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_h_score_is_that_of_explicit_inverses(n: int, d: int) -> None:
    features, targets = task(n, d, 3, seed=n)
    assert h_score(features, targets) == pytest.approx(slow_h_score(features, targets), abs=1e-8)


@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_many_labels_are_scored_one_by_one(n: int, d: int) -> None:
    features, targets = task(n, d, 3, seed=n)
    columns = np.stack([targets == 0, targets > 0, targets == 2], axis=1).astype(np.float32)
    assert log_me(features, columns) == pytest.approx(slow_log_me(features, columns), abs=1e-8)
    expected = np.mean([slow_h_score(features, column.astype(int)) for column in columns.T])
    assert h_score(features, columns) == pytest.approx(expected, abs=1e-8)


def test_labels_that_divide_nothing_do_not_count() -> None:
    features, targets = task(30, 5, 3, seed=1)
    columns = np.eye(3)[targets]
    padded = np.concatenate([columns, np.zeros((30, 1)), np.ones((30, 1))], axis=1)
    assert log_me(features, padded) == pytest.approx(log_me(features, columns), abs=1e-12)
    assert h_score(features, padded) == pytest.approx(h_score(features, columns), abs=1e-12)
    assert log_me(features, targets * 10) == log_me(features, targets)


@settings(max_examples=25)
@given(st.integers(5, 25), st.integers(1, 25), st.integers(2, 4), st.integers(0, 999), st.floats(1e-3, 1e3))
def test_neither_score_depends_on_rotation_scale_or_order(n: int, d: int, n_classes: int, seed: int, scale: float) -> None:
    features, targets = task(n, d, n_classes, seed)
    rng = np.random.default_rng(seed)
    rotation, order = np.linalg.qr(rng.normal(size=(d, d)))[0], rng.permutation(n)
    changed = (features @ rotation * scale)[order]
    assert log_me(changed, targets[order]) == pytest.approx(log_me(features, targets), abs=1e-6)
    assert h_score(changed, targets[order]) == pytest.approx(h_score(features, targets), abs=1e-6)
    assert 0 <= h_score(features, targets) <= n_classes - 1


@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_features_that_tell_the_classes_apart_score_higher(n: int, d: int) -> None:
    informed, targets = task(n, d, 3, seed=2, signal=3)
    blind = np.random.default_rng(0).normal(size=(n, d))
    assert log_me(informed, targets) > log_me(blind, targets)
    assert h_score(informed, targets) > h_score(blind, targets)


def test_constant_features_are_worth_what_no_features_are() -> None:
    targets = np.arange(20) % 2
    for constant in (0.0, 0.1, 1e6):
        assert h_score(np.full((20, 4), constant), targets) == 0
    y = np.eye(2)[targets][:, 0]
    nothing = -0.5 * (np.log((y**2).mean()) + 1 + np.log(2 * np.pi))
    assert log_me(np.zeros((20, 4)), targets) == pytest.approx(nothing, abs=1e-12)
    # A constant other than 0 is the intercept that the model lacks.
    assert nothing < log_me(np.ones((20, 4)), targets) < nothing + 0.5


def test_labels_that_are_exactly_linear_in_the_features_give_a_finite_score() -> None:
    targets = np.arange(20) % 2
    exact = np.eye(2)[targets]
    assert np.isfinite(log_me(exact, targets))
    assert log_me(exact, targets) > log_me(exact + np.random.default_rng(0).normal(0, 0.1, (20, 2)), targets)
    few, few_targets = task(5, 30, 2, seed=0)
    assert np.isfinite(log_me(np.tile(few, (3, 1)), np.tile(few_targets, 3)))
    assert h_score(exact, targets) == pytest.approx(1)


def test_float16_and_float32_features_are_scored_in_float64() -> None:
    features, targets = task(40, 6, 3, seed=3)
    rounded = features.astype(np.float16)
    assert log_me(rounded, targets) == log_me(rounded.astype(np.float64), targets)
    assert h_score(rounded.astype(np.float32), targets) == h_score(rounded.astype(np.float64), targets)


@pytest.mark.parametrize("score", [log_me, h_score])
@pytest.mark.parametrize("targets", [np.zeros(6, np.int64), np.ones((6, 2), np.float32), np.zeros((6, 3), np.float32)])
def test_one_class_is_refused(score: object, targets: np.ndarray) -> None:
    with pytest.raises(DataError, match="6 samples that no label divides"):
        score(np.random.default_rng(0).normal(size=(6, 3)), targets)  # type: ignore[operator]


@pytest.mark.parametrize("score", [log_me, h_score])
def test_features_that_are_not_finite_are_refused(score: object) -> None:
    features, targets = task(10, 3, 2, seed=0)
    features[4, 1], features[4, 2], features[7, 0] = np.nan, np.inf, -np.inf
    with pytest.raises(DataError, match="features that are not finite, of 2 in 10 samples"):
        score(features, targets)  # type: ignore[operator]


def test_order_is_by_the_mean_of_both_ranks() -> None:
    assert order_by_transferability([0.3, 0.1, 0.2], [3.0, 1.0, 2.0]) == [0, 2, 1]
    assert order_by_transferability([0.1, 0.3, 0.2], [2.0, 3.0, 1.0]) == [1, 2, 0]  # ranks 3+2, 1+1, 2+3: a tie, by LogME
    assert order_by_transferability([0.1, 0.3, 0.2], [9.0, 8.0, 7.0]) == [1, 0, 2]  # 3+1, 1+2, 2+3


def test_ties_go_by_log_me_and_then_by_place() -> None:
    assert order_by_transferability([0.1, 0.2], [2.0, 1.0]) == [1, 0]
    assert order_by_transferability([0.1, 0.1], [1.0, 1.0]) == [0, 1]
