from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from pipelines.label_measures import measure_labels

LABELS = ("a", "b", "c")
THRESHOLDS = (0.5, 0.3, 0.8)


def drawn(seed: int, n: int = 40) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    targets = rng.random((n, 3)) < (0.5, 0.2, 0.7)
    return targets, np.round(np.clip(rng.normal(0.4 + 0.2 * targets, 0.3), 0.01, 0.99), 2)


def slow_average_precision(true: np.ndarray, values: np.ndarray) -> float:
    """Sum over thresholds, from the largest down, of the gain in recall times the precision there."""
    total, found = 0.0, 0.0
    for threshold in sorted(set(values.tolist()), reverse=True):
        answered = values >= threshold
        recall = true[answered].sum() / true.sum()
        total += (recall - found) * true[answered].mean()
        found = recall
    return total


@settings(max_examples=20)
@given(st.integers(0, 10_000))
def test_measures_equal_scikit_learn_and_a_slow_reference(seed: int) -> None:
    targets, probabilities = drawn(seed)
    found: Any = measure_labels(LABELS, targets, probabilities, THRESHOLDS)
    predicted = probabilities >= np.array(THRESHOLDS)
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(targets, predicted, zero_division=0)
    for place, label in enumerate(LABELS):
        measured = found["by_label"][label]
        expected = (precision[place], recall[place], f1[place], slow_average_precision(targets[:, place], probabilities[:, place]))
        assert [measured[name] for name in ("precision", "recall", "f1", "average_precision")] == pytest.approx(expected)
        assert (measured["n"], measured["threshold"]) == (targets[:, place].sum(), THRESHOLDS[place])
    assert found["macro_f1"] == pytest.approx(f1.mean())
    assert found["mean_average_precision"] == pytest.approx(metrics.average_precision_score(targets, probabilities))
    losses = [metrics.log_loss(targets[:, k], probabilities[:, k], labels=[False, True]) for k in range(3)]
    assert found["log_loss"] == pytest.approx(np.mean(losses))


def test_a_label_that_no_sample_has_counts_in_no_mean() -> None:
    targets, probabilities = drawn(0)
    targets[:, 1] = False
    found: Any = measure_labels(LABELS, targets, probabilities, THRESHOLDS)
    assert found["by_label"]["b"]["average_precision"] is None
    assert found["by_label"]["b"]["n"] == 0
    assert found["macro_f1"] == pytest.approx(np.mean([found["by_label"][label]["f1"] for label in "ac"]))
    nothing: Any = measure_labels(LABELS, np.zeros_like(targets), probabilities, THRESHOLDS)
    assert (nothing["macro_f1"], nothing["mean_average_precision"]) == (None, None)


def test_a_sure_mistake_has_a_finite_loss() -> None:
    found: Any = measure_labels(("a", "b"), np.array([[True, False]]), np.array([[0.0, 1.0]]), (0.5, 0.5))
    assert found["log_loss"] == pytest.approx(-np.log(1e-12))
