"""The classification head: one linear layer and a temperature."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

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
