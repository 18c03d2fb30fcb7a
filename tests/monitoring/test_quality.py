from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from benchmarks.digits_traffic import LABELS, DigitsTraffic, noisy
from monitoring.quality import Quality, expected_loss, labelled_loss, labelled_since, quality, thresholded_loss
from monitoring.reference import Reference
from monitoring.window import LabelledAnswer, Window


def with_errors(digits: DigitsTraffic, n_labelled: int, n_errors: int) -> tuple[Window, Reference]:
    window, reference = digits.draw(0, 100)
    answers = [LABELS[index] for index in window.predicted_indices]
    wrong = [LABELS[(index + 1) % 10] for index in window.predicted_indices]
    labels = [*wrong[:n_errors], *answers[n_errors:n_labelled], *[None] * (100 - n_labelled)]
    return replace(window, true_labels=tuple(labels)), reference


def judge(window: Window, reference: Reference) -> Quality:
    return quality(window, reference, 1.0, 0)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 100), st.data())
def test_labels_are_counted_and_no_labels_are_no_test(digits: DigitsTraffic, n_labelled: int, data: st.DataObject) -> None:
    n_errors = data.draw(st.integers(0, n_labelled))
    judged = judge(*with_errors(digits, n_labelled, n_errors))
    assert (judged.n_labelled, judged.n_errors) == (n_labelled, n_errors)
    assert (judged.error_rate is None, judged.labelled is None, judged.labelled_loss is None) == (n_labelled == 0,) * 3
    if n_labelled and n_errors == n_labelled > 20:
        assert judged.degraded


def test_the_history_counts_beyond_the_window(digits: DigitsTraffic) -> None:
    window, reference = with_errors(digits, 0, 0)
    times = [window.times[0] + timedelta(minutes=n) for n in range(60)]
    judged = judge(replace(window, history=tuple(LabelledAnswer(time, time, False) for time in times)), reference)
    assert judged.degraded
    assert judged.n_labelled == 0
    assert judged.error_rate is not None
    assert judged.error_rate.n_labelled == 60


def test_labels_since_a_drift_began_are_those_of_requests_since_then(digits: DigitsTraffic) -> None:
    window, reference = with_errors(digits, 0, 0)
    before = [window.times[0] - timedelta(hours=n) for n in range(1, 31)]
    late = window.times[-1] + timedelta(days=2)
    history = tuple(LabelledAnswer(time, late, number < 10) for number, time in enumerate(before))
    found = labelled_since(replace(window, history=history), reference, window.times[0] - timedelta(hours=20))
    assert found is not None
    assert found.n_labelled == 20
    assert found.loss == labelled_loss(10, 20, int(reference.correct.sum()), reference.n_samples)
    assert labelled_since(replace(window, history=history), reference, window.times[0]) is None


def test_of_many_labels_since_then_the_latest_requests_count(digits: DigitsTraffic) -> None:
    window, reference = with_errors(digits, 0, 0)
    start = window.times[0]
    history = tuple(LabelledAnswer(start + timedelta(minutes=n), start, n < 600) for n in range(1_000))
    found = labelled_since(replace(window, history=history), reference, start)
    assert found is not None
    assert (found.n_labelled, found.loss.value) == (400, pytest.approx(reference.correct.mean()))


def test_a_label_that_the_bundle_does_not_know_is_an_error(digits: DigitsTraffic) -> None:
    window, reference = with_errors(digits, 10, 0)
    assert judge(replace(window, true_labels=("a letter", *window.true_labels[1:])), reference).n_errors == 1


def test_intervals_are_scipys_exact_ones(digits: DigitsTraffic) -> None:
    judged = judge(*with_errors(digits, 50, 5))
    interval = stats.binomtest(45, 50).proportion_ci(0.95, method="exact")
    assert judged.labelled is not None
    assert (judged.labelled.value, judged.labelled.low, judged.labelled.high) == pytest.approx((0.9, interval.low, interval.high))


def test_labelled_loss_covers_the_true_difference() -> None:
    rng = np.random.default_rng(0)
    n_covered = 0
    for _ in range(300):
        loss = labelled_loss(rng.binomial(80, 0.8), 80, rng.binomial(300, 0.9), 300)
        n_covered += loss.low <= 0.1 <= loss.high
    assert stats.binomtest(n_covered, 300, 0.95, alternative="less").pvalue > 1e-3


@pytest.mark.parametrize("name", ["expected", "thresholded"])
def test_losses_cover_the_true_loss_of_unchanged_traffic(digits: DigitsTraffic, name: str) -> None:
    draws = [digits.draw(seed, 300, n_reference=300) for seed in range(60)]
    estimate = expected_loss if name == "expected" else lambda w, r: thresholded_loss(w, r, np.random.default_rng(0))
    losses = [estimate(window, reference) for window, reference in draws]
    assert stats.binomtest(sum(loss.low <= 0 <= loss.high for loss in losses), len(draws), 0.95, alternative="less").pvalue > 1e-3
    assert np.mean([loss.value for loss in losses]) == pytest.approx(0, abs=0.01)


def test_expected_loss_is_the_fall_of_confidence(digits: DigitsTraffic) -> None:
    window, reference = digits.draw(0, 200)
    unsure = replace(window, probabilities=0.7 * window.probabilities + 0.03)
    fallen, before = expected_loss(unsure, reference), expected_loss(window, reference)
    assert fallen.low > before.high
    assert fallen.value == pytest.approx(reference.confidences.mean() - unsure.confidences.mean())


def test_the_threshold_is_garg_and_others(digits: DigitsTraffic) -> None:
    """Their definition: as large a share of the reference lies below the threshold as is answered wrongly."""
    window, reference = digits.draw(0, 200, change=noisy)
    n_wrong = int((~reference.correct).sum())
    threshold = np.sort(reference.confidences)[n_wrong]
    theirs = float((window.confidences >= threshold).mean())
    judged = judge(window, reference)
    assert judged.thresholded.value == pytest.approx(theirs, abs=1e-9)
    assert judged.thresholded_loss.low < judged.thresholded_loss.value < judged.thresholded_loss.high


def test_equal_confidences_are_no_loss(digits: DigitsTraffic) -> None:
    """Saturated confidences: a plain threshold would call all of them right, or none."""
    window, reference = digits.draw(0, 100)
    sure = [np.eye(10)[side.predicted_indices] for side in (window, reference)]
    loss = thresholded_loss(replace(window, probabilities=sure[0]), replace(reference, probabilities=sure[1]), np.random.default_rng(0))
    assert (loss.value, loss.low, loss.high) == (0, 0, 0)


@pytest.mark.parametrize("right", [True, False])
def test_a_reference_that_is_all_right_or_all_wrong(digits: DigitsTraffic, right: bool) -> None:
    window, reference = digits.draw(0, 100)
    judged = judge(window, replace(reference, correct=np.full(reference.n_samples, right)))
    assert 0 <= judged.thresholded.low <= judged.thresholded.high <= 1
