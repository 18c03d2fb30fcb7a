from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.covariance import LedoitWolf
from sklearn.metrics import roc_auc_score

from pipelines.anomaly import MahalanobisScorer, NearestNeighbourScorer, alarm_threshold, measure_detection
from pipelines.core.errors import DataError


def draw(n: int, d: int = 5, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.asarray(rng.normal(size=(n, d)) @ np.random.default_rng(99).normal(size=(d, d)) + 3)


def test_mahalanobis_against_scikit_learn() -> None:
    normal, others = draw(200), draw(50, seed=1)
    scale = normal.std(axis=0)
    oracle = LedoitWolf().fit(normal / scale).mahalanobis(others / scale)
    np.testing.assert_allclose(MahalanobisScorer.fitted(normal).scores(others) ** 2, oracle, rtol=1e-9)


def test_mahalanobis_does_not_depend_on_units() -> None:
    normal, others = draw(100), draw(20, seed=1)
    units = np.array([1e-3, 1.0, 50.0, 1e4, 2.0])
    scaled = MahalanobisScorer.fitted(normal * units).scores(others * units)
    np.testing.assert_allclose(scaled, MahalanobisScorer.fitted(normal).scores(others), rtol=1e-6)


def test_fewer_samples_than_features_and_a_dead_feature() -> None:
    normal = draw(10, d=40)
    normal[:, 3] = 7.0
    assert np.isfinite(MahalanobisScorer.fitted(normal).scores(draw(5, d=40, seed=2))).all()


@pytest.mark.parametrize("k", [1, 3, 20])
def test_nearest_neighbour_against_all_distances(k: int) -> None:
    normal, others = draw(60), draw(15, seed=1)
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (normal, others)]
    distances = np.sort(np.linalg.norm(unit[1][:, None] - unit[0][None], axis=2), axis=1)
    np.testing.assert_allclose(NearestNeighbourScorer.fitted(normal, k).scores(others), distances[:, k - 1], atol=1e-7)


@given(st.integers(19, 400), st.sampled_from([0.01, 0.05, 0.1, 0.5]), st.integers(0, 10_000))
def test_the_threshold_is_the_order_statistic_of_the_definition(n: int, rate: float, seed: int) -> None:
    """The smallest score s such that a new one, put among the others at every place, is above s in at most the stated share."""
    scores = np.random.default_rng(seed).normal(size=n)
    if n < 1 / rate - 1:
        with pytest.raises(DataError, match="no threshold keeps that rate"):
            alarm_threshold(scores, rate)
        return
    found = alarm_threshold(scores, rate)
    shares = {float(score): float((np.sum(scores > score) + 1) / (n + 1)) for score in scores}
    assert found.score == min(score for score, share in shares.items() if share <= rate + 1e-9)
    assert found.expected_rate <= rate + 1e-9


@pytest.mark.parametrize("n", [19, 100, 500])
@pytest.mark.parametrize("distribution", ["normal", "cauchy", "ties"])
def test_false_alarms_come_as_often_as_stated_whatever_the_distribution(n: int, distribution: str) -> None:
    """20,000 draws of calibration scores and one new score each."""
    rng = np.random.default_rng([n, len(distribution)])
    n_draws = 20_000
    drawn = {
        "normal": lambda size: rng.normal(size=size),
        "cauchy": lambda size: rng.standard_cauchy(size=size),
        "ties": lambda size: rng.integers(0, 4, size=size).astype(np.float64),
    }[distribution]((n_draws, n + 1))
    ordered = np.sort(drawn[:, :n], axis=1)
    place = np.flatnonzero(ordered[0] == alarm_threshold(drawn[0, :n], 0.05).score)[-1]
    expected = alarm_threshold(drawn[0, :n], 0.05).expected_rate
    if distribution == "ties":
        place = round((1 - expected) * (n + 1)) - 1
    n_alarms = int((drawn[:, n] > ordered[:, place]).sum())
    assert n_alarms <= stats.binom.ppf(0.9995, n_draws, 0.05)
    if distribution != "ties":
        assert stats.binom.ppf(0.0005, n_draws, expected) <= n_alarms <= stats.binom.ppf(0.9995, n_draws, expected)


@pytest.mark.parametrize("n", [50, 400])
def test_the_rate_at_confidence_covers(n: int) -> None:
    """Of uniform scores the rate with a threshold is 1 - threshold: 4,000 thresholds."""
    rng = np.random.default_rng(n)
    found = [alarm_threshold(rng.uniform(size=n), 0.1) for _ in range(4_000)]
    n_exceeded = sum(1 - one.score > one.rate_at_confidence for one in found)
    low, high = stats.binom.ppf([0.0005, 0.9995], 4_000, 0.05)
    assert low <= n_exceeded <= high


def test_detection_against_scikit_learn() -> None:
    rng = np.random.default_rng(3)
    flags = rng.random(300) < 0.2
    scores = rng.normal(size=300) + 1.5 * flags
    threshold = alarm_threshold(rng.normal(size=200), 0.05)
    found = measure_detection(scores, flags, threshold)
    assert found.auroc.value == pytest.approx(roc_auc_score(flags, scores))
    assert found.auroc.low < found.auroc.value < found.auroc.high
    assert found.recall.value == pytest.approx((scores[flags] > threshold.score).mean())
    exact = stats.binomtest(int((scores[~flags] > threshold.score).sum()), int((~flags).sum())).proportion_ci(0.95)
    assert (found.false_alarms.low, found.false_alarms.high) == pytest.approx((exact.low, exact.high))


@pytest.mark.parametrize(("n_anomalies", "shift"), [(20, 1.0), (20, 3.0), (60, 2.0)])
def test_the_interval_of_auroc_covers(n_anomalies: int, shift: float) -> None:
    """The true area under two normal distributions is Phi(shift / sqrt(2)); 1,000 draws."""
    rng = np.random.default_rng([n_anomalies, int(shift)])
    true = float(stats.norm.cdf(shift / np.sqrt(2)))
    flags = np.arange(n_anomalies + 150) < n_anomalies
    threshold = alarm_threshold(np.arange(100.0), 0.05)
    found = [measure_detection(rng.normal(size=len(flags)) + shift * flags, flags, threshold).auroc for _ in range(1_000)]
    n_missed = sum(not one.low <= true <= one.high for one in found)
    assert n_missed <= stats.binom.ppf(0.999, 1_000, 0.05)


def test_all_found_and_none_wrong_has_an_interval_all_the_same() -> None:
    flags = np.arange(60) < 20
    found = measure_detection(flags * 10.0, flags, alarm_threshold(np.zeros(40), 0.05))
    assert found.auroc.value == found.recall.value == 1.0
    assert found.auroc.low < 1


@pytest.mark.parametrize("is_anomaly", [True, False])
def test_samples_of_one_kind(is_anomaly: bool) -> None:
    with pytest.raises(DataError, match=r"anomalies and .* normal samples\. Allowed: at least one of each"):
        measure_detection(np.arange(5.0), np.full(5, is_anomaly), alarm_threshold(np.arange(40.0), 0.05))


def test_bad_input() -> None:
    broken = draw(10)
    broken[2, 1] = np.inf
    for fit in (MahalanobisScorer.fitted, NearestNeighbourScorer.fitted):
        with pytest.raises(DataError, match=r"not finite, of 1 samples"):
            fit(broken)
        with pytest.raises(DataError, match=r"1 normal samples\. Allowed: at least 2"):
            fit(draw(1))
    with pytest.raises(DataError, match=r"n_neighbours 11 for 10 normal samples\. Allowed: 1 to 10"):
        NearestNeighbourScorer.fitted(draw(10), 11)
    with pytest.raises(DataError, match=r"18 held-out normal samples for a false-alarm rate of 0\.05\. Allowed: at least 19"):
        alarm_threshold(np.arange(18.0), 0.05)
    with pytest.raises(DataError, match="not finite, of 1 samples"):
        alarm_threshold(np.array([np.nan, *range(30)]), 0.05)
