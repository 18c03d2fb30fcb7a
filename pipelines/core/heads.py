"""The classification head: one linear layer, a temperature, and how its probabilities become an answer.

Letters for shapes: b samples, d features, k labels. `thresholds` says which head it is: none where a sample has one label, one for each
label where it has any number.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipelines.core.label_sets import LabelsPerSample

if TYPE_CHECKING:
    from torch import nn


def build_head(n_features: int, n_classes: int) -> nn.Module:
    """A linear layer [b, d] -> logits [b, k]."""
    from torch import nn

    return nn.Linear(n_features, n_classes)


def softmax(logits: NDArray[np.floating], temperature: float = 1.0) -> NDArray[np.float64]:
    """Calibrated class probabilities (temperature scaling, Guo et al. 2017, https://arxiv.org/abs/1706.04599).

    Args:
        logits: [b, k], finite.
        temperature: Above 0; 1 changes nothing, larger is less confident.

    Returns:
        float64 [b, k], rows that sum to 1.
    """
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    exponentials = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


def sigmoid(logits: NDArray[np.floating], temperature: float = 1.0) -> NDArray[np.float64]:
    """Calibrated probabilities of labels that do not exclude each other, one temperature for all of them.

    Args:
        logits: [b, k], finite.
        temperature: As in `softmax`.

    Returns:
        float64 [b, k], each in [0, 1].
    """
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    # Of both forms the one whose exponential cannot overflow.
    small = np.exp(-np.abs(scaled))
    return np.asarray(np.where(scaled >= 0, 1.0, small) / (1.0 + small))


def label_probabilities(logits: NDArray[np.floating], temperature: float, labels_per_sample: LabelsPerSample) -> NDArray[np.float64]:
    """float64 [b, k]: `softmax` where a sample has one label, `sigmoid` where it has any number."""
    return softmax(logits, temperature) if labels_per_sample == "one" else sigmoid(logits, temperature)


def decide(probabilities: NDArray[np.floating], thresholds: Sequence[float] | None = None) -> NDArray[np.bool_]:
    """The answer: bool [b, k], the most probable label alone, or every label that reaches its threshold."""
    if thresholds is not None:
        return np.asarray(probabilities >= np.asarray(thresholds))
    return np.asarray(probabilities.argmax(axis=1)[:, None] == np.arange(probabilities.shape[1]))


def confidence(probabilities: NDArray[np.floating], thresholds: Sequence[float] | None = None) -> NDArray[np.float64]:
    """The probability that the answer is right: that of its label, or that of its whole set.

    The latter takes the labels of one sample as independent given the sample: the product of p for labels in the set and 1 - p for the
    others. Labels that come together make it too small, labels that exclude each other likewise; it is not corrected for either.

    Args:
        probabilities: [b, k], calibrated.
        thresholds: [k]; none where a sample has one label.

    Returns:
        float64 [b].
    """
    if thresholds is None:
        return np.asarray(probabilities.max(axis=1, initial=0.0), dtype=np.float64)
    chosen = np.where(decide(probabilities, thresholds), probabilities, 1.0 - probabilities)
    return np.asarray(chosen.prod(axis=1), dtype=np.float64)
