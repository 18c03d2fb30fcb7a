"""How well each label is found where a sample has any number of them; the accuracy of whole sets hides which label fails."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from pipelines.core.heads import decide

_LEAST_PROBABILITY = 1e-12


def measure_labels(
    labels: Sequence[str], targets: NDArray[np.bool_], probabilities: NDArray[np.float64], thresholds: Sequence[float]
) -> dict[str, JsonValue]:
    """Measures on n samples of k labels.

    Args:
        labels: Their names.
        targets: [n, k], whether the sample has the label.
        probabilities: [n, k], calibrated.
        thresholds: [k].

    Returns:
        `by_label` (precision, recall, f1, average_precision, n, threshold; a share without denominator is 0), `macro_f1` and
        `mean_average_precision` over the labels that a sample has (none where no sample has any), and `log_loss`: mean over samples and
        labels, in nats.
    """
    predicted = decide(probabilities, thresholds)
    by_label: dict[str, JsonValue] = {}
    f1_scores, average_precisions = [], []
    for place, label in enumerate(labels):
        scores = _scores(targets[:, place], predicted[:, place])
        n_positive = int(targets[:, place].sum())
        # Of a label that no sample has there is no ranking to judge.
        average = _average_precision(targets[:, place], probabilities[:, place]) if n_positive else None
        by_label[label] = {**scores, "average_precision": average, "n": n_positive, "threshold": thresholds[place]}
        if average is not None:
            f1_scores.append(scores["f1"])
            average_precisions.append(average)
    true_side = np.where(targets, probabilities, 1 - probabilities)
    return {
        "by_label": by_label,
        "macro_f1": float(np.mean(f1_scores)) if f1_scores else None,
        "mean_average_precision": float(np.mean(average_precisions)) if average_precisions else None,
        "log_loss": float(-np.log(np.maximum(true_side, _LEAST_PROBABILITY)).mean()),
    }


def _scores(true: NDArray[np.bool_], predicted: NDArray[np.bool_]) -> dict[str, float]:
    n_right, n_answered, n_positive = int((true & predicted).sum()), int(predicted.sum()), int(true.sum())
    return {
        "precision": n_right / max(1, n_answered),
        "recall": n_right / max(1, n_positive),
        "f1": 2 * n_right / max(1, n_answered + n_positive),
    }


def _average_precision(true: NDArray[np.bool_], probabilities: NDArray[np.float64]) -> float:
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(true, probabilities))
