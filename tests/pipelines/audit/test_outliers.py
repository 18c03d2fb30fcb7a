from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.stats import binom, norm

from pipelines.audit.outliers import FALSE_ALARM_RATE, outliers
from pipelines.training.scaling import shrunk_scaling
from tests.pipelines.audit.digits import Digits


def classes(rng: np.random.Generator, n: int, n_features: int, n_classes: int = 5) -> np.ndarray:
    centres = rng.normal(0, 3, (n_classes, n_features))
    return np.asarray(centres[rng.integers(0, n_classes, n)] + rng.normal(size=(n, n_features)), dtype=np.float32)


def slow_scores(features: np.ndarray) -> np.ndarray:
    distances = np.sort(cdist(*[shrunk_scaling(features).apply(features, np.float64)] * 2), axis=1)[:, 1:11].mean(axis=1)
    logarithms = np.log(distances)
    deviation = (np.quantile(logarithms, 0.9) - np.median(logarithms)) / norm.ppf(0.9)
    return np.asarray((logarithms - np.median(logarithms)) / deviation)


def test_what_is_far_from_all_others_is_found_the_farthest_first() -> None:
    rng = np.random.default_rng(0)
    features = classes(rng, 400, 32)
    features[7] += 40
    features[11] -= 20
    found = outliers(features)
    assert [place for place, _ in found] == [7, 11]
    scores = slow_scores(features)
    assert [score for _, score in found] == pytest.approx([scores[7], scores[11]], rel=1e-4)
    limit = norm.isf(FALSE_ALARM_RATE / 400)
    assert {int(place) for place in np.flatnonzero(scores > limit)} == {7, 11}


def test_outliers_do_not_hide_each_other_until_they_are_a_tenth() -> None:
    rng = np.random.default_rng(1)
    features = classes(rng, 500, 32)
    directions = rng.normal(size=(25, 32))
    features[:25] += (60 * directions / np.linalg.norm(directions, axis=1, keepdims=True)).astype(np.float32)
    assert {place for place, _ in outliers(features)} == set(range(25))


@pytest.mark.parametrize("n_features", [16, 224])
def test_false_alarms_are_as_rare_as_stated(n_features: int) -> None:
    """100 data sets of 300 samples without an outlier; the bound is that of a binomial count with the stated rate, at 1 in 1,000."""
    n_sets = 100
    n_alarms = sum(bool(outliers(classes(np.random.default_rng(seed), 300, n_features))) for seed in range(n_sets))
    assert n_alarms <= binom.isf(0.001, n_sets, FALSE_ALARM_RATE)


@pytest.mark.parametrize("n", [0, 1, 49])
def test_of_few_samples_nothing_is_said(n: int) -> None:
    features = np.zeros((n, 8), dtype=np.float32)
    features[:1] = 100
    assert outliers(features) == []


def test_features_that_are_all_the_same_have_no_outlier() -> None:
    assert outliers(np.ones((80, 8), dtype=np.float32)) == []


@pytest.mark.slow
def test_no_digit_is_an_outlier_among_digits_and_noise_is(digits: Digits) -> None:
    assert outliers(digits.features) == []
    rng = np.random.default_rng(0)
    strange = digits.features.copy()
    strange[:5] = rng.permuted(np.repeat(digits.features.max(axis=0)[None], 5, axis=0), axis=1)
    assert {place for place, _ in outliers(strange)} == set(range(5))
