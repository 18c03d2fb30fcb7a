"""Prototypes: each label is the mean of its features, for a few shots a label (Snell et al. 2017, https://arxiv.org/abs/1703.05175).

Letters for shapes: n samples, d features, k labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.config import PrototypeMethod
from pipelines.training.label_counts import refuse_rare_labels
from pipelines.training.linear import on_frozen_backbone
from pipelines.training.material import Material, Trained
from pipelines.training.scaling import shrunk_scaling

Floats = NDArray[np.float64]
# Logits for each mean squared distance of the samples from their centre. It decides no label; calibration sets the confidence.
_SHARPNESS = 4.0


@dataclass(frozen=True)
class Prototypes:
    """A linear head, d features to k labels: of squared distances |x - m|^2 only 2 m x - |m|^2 differs between labels.

    Attributes:
        weight: float32 [k, d].
        bias: float32 [k].
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]


def train_prototype(material: Material, method: PrototypeMethod) -> Trained:
    """Method `prototype`: the means of the frozen features of each label.

    Raises:
        DataError: A label has no training sample; it is named.
    """
    prototypes = fit_prototypes(material.features(material.train), material.train.targets, material.config.labels)
    return on_frozen_backbone(material, prototypes, {"method": method.kind})


def fit_prototypes(features: NDArray[np.float32], targets: NDArray[Any], labels: Sequence[str]) -> Prototypes:
    """Means of the features of each label; the label of the nearest mean has the highest logit.

    We differ from the paper in measuring distances between features scaled by `shrunk_scaling`, as the probe does, and in that the
    backbone is not trained for it. Many labels a sample: each label has the mean of the samples with it and of those without it, and its
    logit is above 0 where the former is nearer.

    Args:
        features: [n, d].
        targets: One label a sample: [n], its index; every label at least once. Many: [n, k] of 0 and 1; every label both ways.
        labels: The k names.

    Raises:
        DataError: A label has no samples; or, with many labels a sample, all have it. Or a feature is not finite.
    """
    refuse_rare_labels(targets, labels)
    scaling = shrunk_scaling(features)
    scaled = scaling.apply(features, np.float64)
    if np.ndim(targets) == 2:
        has = np.asarray(targets, dtype=np.float64)
        weight, bias = _difference(_means(scaled, has), _means(scaled, 1 - has))
    else:
        means = _means(scaled, np.eye(len(labels))[targets])
        weight, bias = _difference(means, np.zeros_like(means))
    spread = float((scaled**2).sum(axis=1).mean())
    sharpness = _SHARPNESS / spread if spread > 0 else 1.0
    weight, bias = scaling.fold_into(sharpness * weight, sharpness * bias)
    return Prototypes(weight.astype(np.float32), bias.astype(np.float32))


def _means(scaled: Floats, members: Floats) -> Floats:
    """[k, d], of the samples that the columns [n, k] of 0 and 1 name."""
    return np.asarray(members.T @ scaled / members.sum(axis=0)[:, None])


def _difference(near: Floats, far: Floats) -> tuple[Floats, Floats]:
    """|x - far|^2 - |x - near|^2 as a linear map of x."""
    return 2 * (near - far), (far**2).sum(axis=1) - (near**2).sum(axis=1)
