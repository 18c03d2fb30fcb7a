from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipelines.audit.label_errors import LabelDoubt, confidence_thresholds, likely_label_errors
from pipelines.audit.out_of_sample import out_of_sample_probabilities
from tests.pipelines.audit.digits import LABELS, Digits, flipped

Floats = NDArray[np.float64]


def slow_doubts(labels: list[int], probabilities: Floats) -> dict[int, int]:
    """Algorithm of section 3.1 of the paper, sample by sample: the suggestion of each one off the diagonal."""
    n_labels = probabilities.shape[1]
    thresholds = {}
    for label in range(n_labels):
        own = [probabilities[row][label] for row in range(len(labels)) if labels[row] == label]
        if own:
            thresholds[label] = sum(own) / len(own)
    doubted = {}
    for row, label in enumerate(labels):
        best = None
        for other in range(n_labels):
            is_possible = other in thresholds and probabilities[row][other] >= thresholds[other]
            if is_possible and (best is None or probabilities[row][other] > probabilities[row][best]):
                best = other
        if best is not None and best != label:
            doubted[row] = best
    return doubted


@given(st.integers(0, 10_000), st.integers(1, 60), st.integers(2, 6))
def test_it_agrees_with_a_slow_one(seed: int, n: int, n_labels: int) -> None:
    rng = np.random.default_rng(seed)
    # Sixteenths and sums of a few of them are exact, so that both compute the same thresholds.
    probabilities = rng.integers(0, 17, (n, n_labels)) / 16
    labels = rng.integers(0, n_labels, n)
    probabilities[np.arange(n), labels] = np.round(probabilities[np.arange(n), labels] * 16) / 16
    doubts = likely_label_errors(labels, probabilities)
    thresholds = confidence_thresholds(labels, probabilities)
    for label in range(n_labels):
        own = probabilities[labels == label, label]
        assert thresholds[label] == (pytest.approx(own.mean()) if len(own) else np.inf)
    assert {doubt.place: doubt.suggested for doubt in doubts} == slow_doubts(labels.tolist(), probabilities)
    margins = [doubt.confidence - doubt.given_probability for doubt in doubts]
    assert margins == sorted(margins, reverse=True)


def test_one_wrong_label_among_sure_ones() -> None:
    labels = np.array([0, 0, 0, 1, 1, 1])
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.05, 0.95], [0.1, 0.9], [0.2, 0.8], [0.15, 0.85]])
    assert likely_label_errors(labels, probabilities) == [LabelDoubt(2, suggested=1, confidence=0.95, given_probability=0.05)]


def test_a_label_that_no_sample_was_given_is_never_suggested() -> None:
    probabilities = np.array([[0.2, 0.1, 0.7], [0.1, 0.2, 0.7]])
    assert all(doubt.suggested != 2 for doubt in likely_label_errors(np.array([0, 1]), probabilities))


def test_probabilities_are_of_probes_that_did_not_see_the_sample() -> None:
    """With more features than samples and labels drawn by lot a probe is right on all that it has seen, and by chance on others."""
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(300, 400)).astype(np.float32), rng.integers(0, 2, 300)
    probabilities = out_of_sample_probabilities(features, labels, ("a", "b"), seed=0)
    n_right = int((probabilities.argmax(axis=1) == labels).sum())
    # 300 tosses of a coin leave this range once in 10,000 times.
    assert 116 <= n_right <= 184
    assert probabilities.sum(axis=1) == pytest.approx(np.ones(300))


@pytest.mark.slow
def test_flipped_labels_of_digits_are_found_and_clean_ones_left_alone(digits: Digits, tmp_path: Path) -> None:
    """5 % of the labels flipped, 5 draws: 449 flips in all."""
    n_found = n_hit = n_suggestion_right = 0
    for seed in range(5):
        labels, places = flipped(digits.labels, 0.05, seed)
        doubts = likely_label_errors(labels, out_of_sample_probabilities(digits.features, labels, LABELS, seed))
        hits = [doubt for doubt in doubts if doubt.place in places]
        n_found, n_hit = n_found + len(doubts), n_hit + len(hits)
        n_suggestion_right += sum(doubt.suggested == digits.labels[doubt.place] for doubt in hits)
    assert n_hit / n_found >= 0.95
    assert n_hit / (5 * len(places)) >= 0.7
    assert n_suggestion_right / n_hit >= 0.98
    clean = [
        likely_label_errors(digits.labels, out_of_sample_probabilities(digits.features, digits.labels, LABELS, seed)) for seed in range(3)
    ]
    assert max(len(doubts) for doubts in clean) <= 0.002 * len(digits.labels)
