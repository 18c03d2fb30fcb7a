from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from pipelines.config import ProbeMethod
from pipelines.core.errors import DataError
from pipelines.core.heads import softmax
from pipelines.training import probe as probe_module
from pipelines.training.folds import fold_numbers
from pipelines.training.probe import Probe, fit_probe

LABELS = ("ant", "bee", "cow", "dog")


def blobs(n_classes: int, n_per_class: int, seed: int, d: int = 5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    targets = np.repeat(np.arange(n_classes), n_per_class)
    features = rng.normal(size=(len(targets), d)) * rng.choice([0.1, 1, 10], d) + np.eye(d)[targets % d] * 2 + 3
    return features.astype(np.float32), targets


def scaled(features: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Centred, over the root of each variance and their mean."""
    like = like.astype(np.float64)
    return (features - like.mean(0)) / np.sqrt(like.var(0) + like.var(0).mean())


def fit(features: np.ndarray, targets: np.ndarray, seed: int = 0, **settings: object) -> Probe:
    k = targets.shape[1] if targets.ndim == 2 else int(targets.max()) + 1
    return fit_probe(features, targets, LABELS[:k], ProbeMethod.model_validate(settings), seed)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_equals_an_independent_optimum(n_classes: int) -> None:
    """The same penalised likelihood, written down here and minimised by SciPy without derivatives of ours."""
    features, targets = blobs(n_classes, 30, seed=0)
    strength = 0.5
    probe = fit(features, targets, strengths=(strength,))
    inputs = scaled(features, features)

    def unpack(flat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if n_classes == 2:  # scikit-learn's binary form penalises the one row of log odds
            return np.stack([-flat[:5] / 2, flat[:5] / 2]), np.array([-flat[5] / 2, flat[5] / 2])
        return flat[: n_classes * 5].reshape(n_classes, 5), flat[n_classes * 5 :]

    def loss(flat: np.ndarray) -> float:
        weight, bias = unpack(flat)
        penalty = (flat[:5] ** 2).sum() / 2 if n_classes == 2 else (weight**2).sum() / 2
        probabilities = softmax(inputs @ weight.T + bias)
        return float(-strength * np.log(probabilities[np.arange(len(targets)), targets]).sum() + penalty)

    weight, bias = unpack(minimize(loss, np.zeros(6 if n_classes == 2 else n_classes * 6), method="BFGS", options={"gtol": 1e-7}).x)
    np.testing.assert_allclose(softmax(features @ probe.weight.T + probe.bias), softmax(inputs @ weight.T + bias), atol=1e-4)


@pytest.mark.parametrize("n_classes", [2, 3, 4])
@pytest.mark.parametrize("class_weights", ["none", "balanced"])
@pytest.mark.parametrize("d", [5, 150])
def test_equals_scikit_learn_with_the_same_strength_and_weights(n_classes: int, class_weights: str, d: int) -> None:
    features, targets = blobs(n_classes, 20, seed=1, d=d)
    features, targets = features[5:], targets[5:]
    probe = fit(features, targets, strengths=(0.2,), class_weights=class_weights)
    weighting = "balanced" if class_weights == "balanced" else None
    expected = LogisticRegression(C=0.2, class_weight=weighting, tol=1e-12, max_iter=10_000)
    probabilities = expected.fit(scaled(features, features), targets).predict_proba(scaled(features, features))
    np.testing.assert_allclose(softmax(features @ probe.weight.T + probe.bias), probabilities, atol=1e-4)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("class_weights", ["none", "balanced"])
def test_cross_validation_equals_scikit_learns_on_features_scaled_in_each_fold(n_classes: int, class_weights: str) -> None:
    features, targets = blobs(n_classes, 20, seed=2)
    features, targets = features[7:], targets[7:]
    strengths = (0.01, 0.1)
    probe = fit(features, targets, seed=3, strengths=strengths, class_weights=class_weights)
    weights = (len(targets) / np.bincount(targets))[targets] if class_weights == "balanced" else np.ones(len(targets))
    probabilities = np.zeros((len(strengths), len(targets), n_classes))
    numbers = fold_numbers(targets, 3, seed=3)
    for learnt, held_out in ((numbers != number, numbers == number) for number in range(3)):
        for place, strength in enumerate(strengths):
            model = LogisticRegression(C=strength, class_weight=None if class_weights == "none" else "balanced", tol=1e-12, max_iter=10_000)
            model.fit(scaled(features[learnt], features[learnt]), targets[learnt])
            probabilities[place, held_out] = model.predict_proba(scaled(features[held_out], features[learnt]))
    expected = [log_loss(targets, rows, sample_weight=weights) for rows in probabilities]
    assert probe.cross_validation == pytest.approx(expected, rel=1e-3)
    assert probe.n_folds == 3


def test_many_labels_equal_one_scikit_learn_fit_for_each() -> None:
    features, classes = blobs(4, 15, seed=4)
    targets = np.stack([classes == 0, classes > 1, classes % 2 == 0], axis=1).astype(np.float32)
    for class_weights in ("none", "balanced"):
        probe = fit(features, targets, strengths=(0.3,), class_weights=class_weights)
        for label in range(3):
            weighting = None if class_weights == "none" else "balanced"
            model = LogisticRegression(C=0.3, class_weight=weighting, tol=1e-12, max_iter=10_000)
            model.fit(scaled(features, features), targets[:, label])
            expected = model.decision_function(scaled(features, features))
            np.testing.assert_allclose(features @ probe.weight[label] + probe.bias[label], expected, atol=1e-3)


def test_balanced_weights_help_the_rare_label() -> None:
    rng = np.random.default_rng(5)
    targets = np.repeat([0, 1], [90, 10])
    features = (rng.normal(size=(100, 3)) + 0.7 * targets[:, None]).astype(np.float32)
    recalls = []
    for class_weights in ("none", "balanced"):
        probe = fit(features, targets, class_weights=class_weights)
        recalls.append(((features @ probe.weight.T + probe.bias).argmax(1) == 1)[targets == 1].mean())
    assert recalls[1] > recalls[0] + 0.3


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("d", [5, 300])
def test_same_input_same_output(many: bool, d: int) -> None:
    features, classes = blobs(3, 20, seed=1, d=d)
    targets = np.eye(3, dtype=np.float32)[classes] if many else classes
    first, second = (fit(features, targets, seed=4) for _ in range(2))
    np.testing.assert_array_equal(first.weight, second.weight)
    np.testing.assert_array_equal(first.bias, second.bias)
    assert first.cross_validation == second.cross_validation


def test_the_strength_with_the_least_cross_validated_loss_is_taken() -> None:
    features, targets = blobs(3, 20, seed=2)
    probe = fit(features, targets, strengths=(1.0, 1e-6))
    assert probe.strength == 1.0
    assert probe.cross_validation[0] is not None
    assert probe.cross_validation[1] is not None
    assert probe.cross_validation[0] < probe.cross_validation[1]


@pytest.mark.parametrize("d", [5, 300])
def test_one_strength_is_not_cross_validated_and_gives_the_head_that_a_search_ending_there_gives(d: int) -> None:
    features, targets = blobs(3, 20, seed=2, d=d)
    searched = fit(features, targets, strengths=(0.01, 0.1, 1.0))
    alone = fit(features, targets, strengths=(searched.strength,))
    np.testing.assert_array_equal(alone.weight, searched.weight)
    np.testing.assert_array_equal(alone.bias, searched.bias)
    assert (alone.cross_validation, alone.n_folds) == ((None,), 0)


def test_one_strength_needs_one_sample_of_every_label() -> None:
    features = np.eye(3, dtype=np.float32)
    probe = fit(features, np.arange(3), strengths=(1.0,))
    assert ((features @ probe.weight.T + probe.bias).argmax(axis=1) == np.arange(3)).all()
    with pytest.raises(DataError, match="0 of 'bee'"):
        fit(features, np.array([0, 0, 2]), strengths=(1.0,))


def test_labels_that_are_noise_get_the_strongest_regularisation_and_hopeless_strengths_are_not_tried() -> None:
    rng = np.random.default_rng(6)
    features, targets = rng.normal(size=(60, 40)).astype(np.float32), np.arange(60) % 3
    probe = fit(features, targets, strengths=(100.0, 1e-6, 10.0, 1e-3, 1.0))
    assert probe.strength in (1e-6, 1e-3)
    assert probe.cross_validation[0] is None
    assert probe.cross_validation[1] == pytest.approx(np.log(3), abs=0.02)


def test_stopping_early_chooses_as_trying_everything_does(monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(6):
        features, targets = blobs(3, 15, seed=seed, d=8)
        monkeypatch.setattr(probe_module, "_HOPELESS_FRAC", 0.1)
        stopped = fit(features, targets, strengths=(0.001, 0.01, 0.1, 1.0, 10.0, 100.0))
        monkeypatch.setattr(probe_module, "_HOPELESS_FRAC", np.inf)
        full = fit(features, targets, strengths=(0.001, 0.01, 0.1, 1.0, 10.0, 100.0))
        assert None not in full.cross_validation
        assert stopped.strength == full.strength
        np.testing.assert_array_equal(stopped.weight, full.weight)


def test_a_constant_feature_and_constant_features_do_no_harm() -> None:
    features, targets = blobs(2, 20, seed=3)
    features[:, 2] = 7
    assert np.isfinite(fit(features, targets).weight).all()
    nothing = fit(np.ones((6, 4), np.float32), np.array([0, 1, 0, 1, 1, 1]))
    np.testing.assert_allclose(softmax(np.ones((1, 4)) @ nothing.weight.T + nothing.bias), [[1 / 3, 2 / 3]], atol=1e-3)


@pytest.mark.parametrize("shots", [2, 3, 5])
def test_a_few_shots_a_class_suffice(shots: int) -> None:
    features, targets = blobs(4, shots, seed=7, d=60)
    features += 6 * np.eye(60, dtype=np.float32)[targets] * features.std()
    probe = fit(features, targets, folds=5)
    assert probe.n_folds == min(5, shots)
    assert ((features @ probe.weight.T + probe.bias).argmax(axis=1) == targets).all()


def test_one_sample_of_a_class_is_refused_by_name() -> None:
    features, targets = blobs(3, 20, seed=4)
    keep = (targets != 1) | (np.arange(len(targets)) < 21)
    with pytest.raises(DataError, match=r"1 of 'bee'.*at least 2 of every label.*method prototype"):
        fit(features[keep], targets[keep])


@pytest.mark.parametrize(("value", "problem"), [(0, "none with 'cow'"), (1, "all with 'cow'")])
def test_a_label_that_divides_nothing_is_refused_by_name(value: int, problem: str) -> None:
    features, classes = blobs(3, 5, seed=4)
    targets = np.eye(3, dtype=np.float32)[classes]
    targets[:, 2] = value
    with pytest.raises(DataError, match=problem):
        fit(features, targets)


def test_a_label_with_one_positive_is_learnt_and_not_judged_where_it_is_missing() -> None:
    features, classes = blobs(3, 8, seed=8)
    targets = np.eye(3, dtype=np.float32)[classes]
    targets[:, 2] = np.arange(24) == 20
    probe = fit(features, targets)
    assert np.isfinite(probe.weight).all()
    assert max(loss for loss in probe.cross_validation if loss is not None) < 5


def test_two_samples_with_many_labels_are_too_few_to_judge() -> None:
    with pytest.raises(DataError, match="no fold can learn a label and judge it"):
        fit(np.eye(2, dtype=np.float32), np.eye(2, dtype=np.float32))


def test_features_that_are_not_finite_are_refused() -> None:
    features, targets = blobs(2, 5, seed=0)
    features[3, 1] = np.inf
    with pytest.raises(DataError, match="features that are not finite"):
        fit(features, targets)
