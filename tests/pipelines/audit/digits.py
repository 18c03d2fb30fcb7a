"""Real digits under the shipped backbone, and labels that were flipped by lot."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LABELS = tuple("0123456789")


@dataclass(frozen=True)
class Digits:
    """All 1,797 digits of scikit-learn: features [n, d] and labels [n]."""

    features: NDArray[np.float32]
    labels: NDArray[np.int64]


def flipped(labels: NDArray[np.int64], share: float, seed: int) -> tuple[NDArray[np.int64], set[int]]:
    """The labels, a share of them changed to another one, and where."""
    rng = np.random.default_rng(seed)
    places = rng.choice(len(labels), round(share * len(labels)), replace=False)
    changed = labels.copy()
    changed[places] = (labels[places] + rng.integers(1, len(LABELS), len(places))) % len(LABELS)
    return changed, set(places.tolist())
