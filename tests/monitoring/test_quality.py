from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from benchmarks.digits_traffic import LABELS, DigitsTraffic
from monitoring.quality import expected_accuracy, quality
from monitoring.reference import Reference
from monitoring.window import Window


def with_errors(digits: DigitsTraffic, n_labelled: int, n_errors: int) -> tuple[Window, Reference]:
    window, reference = digits.draw(0, 100)
    answers = [LABELS[index] for index in window.predicted_indices]
    wrong = [LABELS[(index + 1) % 10] for index in window.predicted_indices]
    labels = [*wrong[:n_errors], *answers[n_errors:n_labelled], *[None] * (100 - n_labelled)]
    return replace(window, true_labels=tuple(labels)), reference


@settings(max_examples=40)
@given(st.integers(0, 100), st.data())
def test_p_value_is_scipys_fisher_test(digits: DigitsTraffic, n_labelled: int, data: st.DataObject) -> None:
    n_errors = data.draw(st.integers(0, n_labelled))
    window, reference = with_errors(digits, n_labelled, n_errors)
    judged = quality(window, reference, 0.01)
    assert (judged.n_labelled, judged.n_errors) == (n_labelled, n_errors)
    if n_labelled == 0:
        assert judged.p_value is None
        assert judged.labelled is None
        assert not judged.degraded
        return
    n_reference_errors = int((~reference.correct).sum())
    table = [[n_errors, n_labelled - n_errors], [n_reference_errors, reference.n_samples - n_reference_errors]]
    assert judged.p_value == pytest.approx(stats.fisher_exact(table, alternative="greater").pvalue, rel=1e-6, abs=1e-300)
    assert judged.degraded == (judged.p_value <= 0.01)


@pytest.mark.parametrize("n_labelled", [1, 3, 20, 100])
def test_fewest_alarming_errors_by_trying_all(digits: DigitsTraffic, n_labelled: int) -> None:
    degraded = [quality(*with_errors(digits, n_labelled, n_errors), 0.01).degraded for n_errors in range(n_labelled + 1)]
    fewest = degraded.index(True) if True in degraded else None
    assert quality(*with_errors(digits, n_labelled, 0), 0.01).n_errors_to_alarm == fewest
    assert (fewest is None) == (n_labelled == 1)


def test_a_label_that_the_bundle_does_not_know_is_an_error(digits: DigitsTraffic) -> None:
    window, reference = with_errors(digits, 10, 0)
    assert quality(replace(window, true_labels=("a letter", *window.true_labels[1:])), reference, 0.01).n_errors == 1


def test_intervals_are_scipys_exact_ones(digits: DigitsTraffic) -> None:
    judged = quality(*with_errors(digits, 50, 5), 0.01)
    interval = stats.binomtest(45, 50).proportion_ci(0.95, method="exact")
    assert judged.labelled is not None
    assert (judged.labelled.value, judged.labelled.low, judged.labelled.high) == pytest.approx((0.9, interval.low, interval.high))


def test_expected_accuracy_covers_the_true_accuracy_of_unchanged_traffic(digits: DigitsTraffic) -> None:
    draws = [digits.draw(seed, 300, n_reference=300) for seed in range(200)]
    answered = [tuple(LABELS[index] for index in window.predicted_indices) for window, _ in draws]
    accuracy = float(np.mean([np.equal(window.true_labels, answer).mean() for (window, _), answer in zip(draws, answered, strict=True)]))
    answers = [expected_accuracy(window, reference) for window, reference in draws]
    n_covered = sum(answer.low <= accuracy <= answer.high for answer in answers)
    assert stats.binomtest(n_covered, len(draws), 0.95, alternative="less").pvalue > 1e-3
    assert np.mean([answer.value for answer in answers]) == pytest.approx(accuracy, abs=0.01)


def test_expected_accuracy_falls_with_confidence(digits: DigitsTraffic) -> None:
    window, reference = digits.draw(0, 200)
    unsure = 0.7 * window.probabilities + 0.03
    fallen = expected_accuracy(replace(window, probabilities=unsure), reference)
    before = expected_accuracy(window, reference)
    assert fallen.high < before.low
    assert fallen.value - before.value == pytest.approx(unsure.max(axis=1).mean() - window.confidences.mean())
