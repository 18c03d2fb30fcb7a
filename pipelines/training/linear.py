"""Methods that leave the backbone frozen: a linear head on its features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from pipelines.config import ProbeMethod
from pipelines.core.heads import build_head
from pipelines.training.label_counts import label_counts
from pipelines.training.material import Material, Trained
from pipelines.training.probe import Probe, fit_probe

if TYPE_CHECKING:
    from torch import nn


class LinearHead(Protocol):
    """A linear map of features: `weight` float32 [k, d] and `bias` float32 [k]."""

    @property
    def weight(self) -> NDArray[np.float32]:
        """[k, d]."""

    @property
    def bias(self) -> NDArray[np.float32]:
        """[k]."""


def train_probe(material: Material, method: ProbeMethod) -> Trained:
    """Method `probe`: logistic regression on the frozen features.

    Raises:
        DataError: Labels have too few training samples, which are named.
    """
    features = material.features(material.train)
    probe = fit_probe(features, material.train.targets, material.config.labels, method, material.config.seed)
    return on_frozen_backbone(material, probe, {"method": "probe", "probe": probe_record(probe, method)})


def on_frozen_backbone(material: Material, head: LinearHead, record: dict[str, JsonValue]) -> Trained:
    """A head on the pretrained backbone as the result of a method, with its validation logits and the label counts in the record."""
    network = with_head(material.fresh_backbone(0.0), head)
    counts: dict[str, JsonValue] = dict(label_counts(material.train.targets, material.config.labels))
    described: dict[str, JsonValue] = {"n_train": len(material.train), "label_counts": counts}
    return Trained(network, described | record, validation_logits=frozen_logits(material, network))


def with_head(backbone: nn.Module, head: LinearHead) -> nn.Sequential:
    """Backbone and linear head as one network, on the backbone's device."""
    import torch
    from torch import nn

    layer = build_head(head.weight.shape[1], head.weight.shape[0])
    layer.load_state_dict({"weight": torch.from_numpy(head.weight), "bias": torch.from_numpy(head.bias)})
    return nn.Sequential(backbone, layer.to(next(backbone.parameters()).device))


def frozen_logits(material: Material, network: nn.Sequential) -> NDArray[np.float32]:
    """Validation logits [n, k] of a head on the pretrained features: no forward pass through the backbone.

    Args:
        material: Of the training.
        network: Backbone, not trained, and head.
    """
    return head_logits(network[1], material.features(material.validation))


def head_logits(head: nn.Module, features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logits [n, k] of a head on features [n, d]."""
    import torch

    with torch.inference_mode():
        # A copy: kept features may be read-only, which torch warns of.
        rows = torch.from_numpy(np.array(features)).to(next(head.parameters()).device)
        return np.asarray(head.eval()(rows).cpu().numpy(), dtype=np.float32)


def probe_record(probe: Probe, method: ProbeMethod) -> dict[str, JsonValue]:
    """What a probe chose, for `training.json`."""
    losses: list[JsonValue] = [
        {"strength": strength, "log_loss": loss} for strength, loss in zip(method.strengths, probe.cross_validation, strict=True)
    ]
    return {"strength": probe.strength, "folds": probe.n_folds, "class_weights": method.class_weights, "cross_validation": losses}
