"""How features of images lie to each other: near their own label, near their mirror image, and by how many standard errors more so."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor, nn

_BATCH_SIZE = 16
# Fewer paired differences have no spread worth the name.
_MIN_PAIRS = 8


def share_a_label(targets: NDArray[Any]) -> NDArray[np.bool_]:
    """[n, n]: whether two samples have a label in common."""
    return np.asarray(targets[:, None] == targets[None, :] if targets.ndim == 1 else targets @ targets.T > 0)


def features_of(network: nn.Module, images: Tensor) -> NDArray[np.float64]:
    """Features [n, d] of a network in evaluation mode."""
    import torch

    with torch.inference_mode():
        return np.concatenate([network(batch).double().cpu().numpy() for batch in torch.split(images, _BATCH_SIZE)])


def minds_flips(features: NDArray[np.float64], flipped: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 - cosine between the standardised features of an image and of its mirror image, [n]."""
    both = _standardised(np.concatenate([features, flipped]))
    return np.asarray(1 - (both[: len(features)] * both[len(features) :]).sum(axis=1))


def _standardised(features: NDArray[np.float64]) -> NDArray[np.float64]:
    """Columns of mean 0 and variance 1, then rows of length 1."""
    centred = features - features.mean(axis=0)
    scale = features.std(axis=0)
    scaled = np.divide(centred, scale, out=np.zeros_like(centred), where=scale > 1e-9 * max(1e-300, float(scale.max())))
    return np.asarray(scaled / np.maximum(np.linalg.norm(scaled, axis=1, keepdims=True), 1e-12))


def nearness(features: NDArray[np.float64], alike: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Mean similarity to other images of the same label less that to all others, for each image that has both."""
    rows = _standardised(features)
    similar = rows @ rows.T
    same = alike & ~np.eye(len(rows), dtype=bool)
    n_same, n_other = same.sum(axis=1), (~alike).sum(axis=1)
    usable = (n_same > 0) & (n_other > 0)
    own = (similar * same).sum(axis=1)[usable] / n_same[usable]
    return np.asarray(own - (similar * ~alike).sum(axis=1)[usable] / n_other[usable])


def standard_errors(differences: NDArray[np.float64]) -> float:
    """The mean difference in standard errors of it; 0 where nothing differs or too few can be compared."""
    if len(differences) < _MIN_PAIRS or not differences.any():
        return 0.0
    return float(differences.mean() / max(float(differences.std(ddof=1)) / math.sqrt(len(differences)), 1e-12))
