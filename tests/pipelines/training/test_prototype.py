from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestCentroid

from pipelines.core.errors import DataError
from pipelines.training.prototype import Prototypes, fit_prototypes

LABELS = tuple("abcdefgh")


def scaled(features: np.ndarray, like: np.ndarray) -> np.ndarray:
    return (features - like.mean(0)) / np.sqrt(like.var(0) + like.var(0).mean())


def logits(prototypes: Prototypes, features: np.ndarray) -> np.ndarray:
    return np.asarray(features @ prototypes.weight.T + prototypes.bias)


@settings(max_examples=30)
@given(st.integers(2, 6), st.integers(2, 5), st.integers(2, 30), st.integers(0, 999))
def test_the_nearest_centroid_of_scaled_features_wins(n_classes: int, shots: int, d: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    targets = np.repeat(np.arange(n_classes), shots)
    features = rng.normal(2, rng.uniform(0.1, 5, d), (len(targets), d)).astype(np.float32)
    others = rng.normal(2, 3, (20, d)).astype(np.float32)
    expected = NearestCentroid().fit(scaled(features.astype(float), features.astype(float)), targets)
    found = logits(fit_prototypes(features, targets, LABELS[:n_classes]), others).argmax(axis=1)
    assert (found == expected.predict(scaled(others, features.astype(float)))).mean() >= 0.95  # float32 may turn a tie


def test_logits_differ_as_squared_distances_do() -> None:
    rng = np.random.default_rng(0)
    targets = np.arange(12) % 3
    features = rng.normal(5, 2, (12, 4))
    inputs = scaled(features, features)
    means = np.stack([inputs[targets == label].mean(axis=0) for label in range(3)])
    distances = ((inputs[:, None] - means) ** 2).sum(axis=2) / (inputs**2).sum(axis=1).mean()
    found = logits(fit_prototypes(features.astype(np.float32), targets, LABELS[:3]), features)
    np.testing.assert_allclose(found - found[:, :1], -4 * (distances - distances[:, :1]), atol=1e-4)


def test_many_labels_compare_the_means_with_and_without_each() -> None:
    rng = np.random.default_rng(1)
    targets = (rng.random((30, 3)) < 0.4).astype(np.float32)
    features = rng.normal(size=(30, 6)) + targets @ rng.normal(size=(3, 6)) * 2
    inputs = scaled(features, features)
    found = logits(fit_prototypes(features.astype(np.float32), targets, LABELS[:3]), features) > 0
    for label in range(3):
        expected = NearestCentroid().fit(inputs, targets[:, label]).predict(inputs)
        np.testing.assert_array_equal(found[:, label], expected > 0)


def test_one_sample_of_each_label_suffices() -> None:
    features = np.eye(4, 9, dtype=np.float32)
    assert (logits(fit_prototypes(features, np.arange(4), LABELS[:4]), features).argmax(axis=1) == np.arange(4)).all()


def test_constant_features_give_equal_logits() -> None:
    found = logits(fit_prototypes(np.ones((4, 3), np.float32), np.array([0, 1, 0, 1]), LABELS[:2]), np.ones((1, 3)))
    np.testing.assert_allclose(found, 0, atol=1e-6)


def test_a_label_without_samples_is_refused_by_name() -> None:
    with pytest.raises(DataError, match=r"0 of 'c'.*at least 1 of every label"):
        fit_prototypes(np.ones((4, 3), np.float32), np.array([0, 1, 0, 1]), LABELS[:3])
    with pytest.raises(DataError, match="all with 'a'"):
        fit_prototypes(np.ones((2, 3), np.float32), np.array([[1, 0], [1, 1]], np.float32), LABELS[:2])
