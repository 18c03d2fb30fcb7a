from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from scipy import stats

from monitoring.alarm_budget import RESERVE, YEAR
from monitoring.error_rate import alarm_weights, error_rate, evidence_path

START = datetime(2026, 1, 1, tzinfo=UTC)


def slow_evidence(errors: list[bool], weights: list[float], bound: float) -> float:
    """Every bet of every start by itself, no cap."""
    total = 0.0
    for way in (0.03, 0.1, 0.25, 0.5):
        rate = bound + (1 - bound) * way
        for start in range(len(errors)):
            ratios = [rate / bound if wrong else (1 - rate) / (1 - bound) for wrong in errors[start:]]
            total += weights[start] / 4 * float(np.prod(ratios))
    return total


def test_the_recursion_is_the_sum_over_all_starts() -> None:
    rng = np.random.default_rng(0)
    errors, weights = rng.random(40) < 0.2, rng.uniform(0, 1e-3, 40)
    path = evidence_path(errors, weights, 0.1)
    for n in (1, 7, 40):
        assert path[n - 1] == pytest.approx(slow_evidence(errors[:n].tolist(), weights[:n].tolist(), 0.1))


@pytest.mark.parametrize("rate", [0.02, 0.1])
def test_unchanged_error_rates_ever_alarm_no_more_often_than_the_stakes_allow(rate: float) -> None:
    """Looked at after every single one of 1,000 labels, in 4,000 streams."""
    n_streams, n_labels, budget = 4_000, 1_000, 0.1
    rng = np.random.default_rng(3)
    weights = np.full(n_labels, budget / n_labels)
    path = evidence_path(rng.random((n_streams, n_labels)) < rate, weights, rate)
    n_alarmed = int((path.max(axis=1) >= 1).sum())
    assert stats.binomtest(n_alarmed, n_streams, budget, alternative="greater").pvalue > 1e-3
    assert n_alarmed > 0.1 * budget * n_streams  # and it is not just deaf


def test_a_rate_below_the_allowed_one_is_safer_still() -> None:
    rng = np.random.default_rng(4)
    errors = rng.random((2_000, 500)) < 0.03
    assert (evidence_path(errors, np.full(500, 0.0002), 0.05).max(axis=1) >= 1).mean() < 0.05


def test_a_late_rise_is_found_soon() -> None:
    rng = np.random.default_rng(5)
    calm, worse = rng.random((200, 800)) < 0.03, rng.random((200, 200)) < 0.25
    path = evidence_path(np.concatenate([calm, worse], axis=1), np.full(1_000, 0.25 / 1_000), 0.05)
    delays = np.argmax(path[:, 800:] >= 1, axis=1)
    assert (path[:, 800:].max(axis=1) >= 1).mean() >= 0.99
    assert np.median(delays) < 60


def test_evidence_goes_down_again_when_errors_do() -> None:
    errors = np.concatenate([np.ones(60, dtype=bool), np.zeros(300, dtype=bool)])
    path = evidence_path(errors, np.full(360, 1e-4), 0.05)
    assert path[59] == 1_000
    assert path[-1] < 1


def test_weights_look_at_times_alone_and_a_long_silence_counts_a_week() -> None:
    times = [START, START + timedelta(hours=1), START + timedelta(days=100), START + timedelta(days=100)]
    weights = alarm_weights(times, 2.0)
    np.testing.assert_allclose(weights, 2 * np.array([RESERVE / YEAR, timedelta(hours=1) / YEAR, RESERVE / YEAR, 0]))
    assert alarm_weights([], 2.0).shape == (0,)


def test_the_references_own_uncertainty_counts() -> None:
    times = [START + timedelta(minutes=n) for n in range(50)]
    errors = np.arange(50) % 10 == 0
    small, large = error_rate(errors, times, 2, 50, 1.0), error_rate(errors, times, 80, 2_000, 1.0)
    assert small.allowed_error_frac == pytest.approx(stats.beta.ppf(0.99, 3, 48))
    assert small.evidence < large.evidence
    assert (small.n_labelled, small.n_errors) == (50, 5)


def test_a_reference_that_is_all_wrong_alarms_never() -> None:
    found = error_rate(np.ones(50, dtype=bool), [START] * 50, 30, 30, 1.0)
    assert (found.allowed_error_frac, found.evidence, found.risen) == (1.0, 0.0, False)


def test_no_labels_no_evidence() -> None:
    assert error_rate(np.zeros(0, dtype=bool), [], 1, 50, 1.0).evidence == 0
