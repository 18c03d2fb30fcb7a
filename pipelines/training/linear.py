"""Methods that leave the backbone frozen: a linear head on its features."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import JsonValue

from pipelines.config import ProbeMethod
from pipelines.core.heads import build_head
from pipelines.training.material import Material, Trained
from pipelines.training.probe import Probe, fit_probe

if TYPE_CHECKING:
    from torch import nn


def train_probe(material: Material, method: ProbeMethod) -> Trained:
    """Method `probe`: logistic regression on the frozen features."""
    features = material.features(material.train)
    probe = fit_probe(features, material.train.targets, len(material.config.labels), method, material.config.seed)
    network = with_head(material.fresh_backbone(0.0), probe)
    return Trained(network, {"method": "probe", "n_train": len(material.train), "probe": _probe_record(probe, method)})


def with_head(backbone: nn.Module, probe: Probe) -> nn.Sequential:
    """Backbone and linear head as one network, on the backbone's device."""
    import torch
    from torch import nn

    head = build_head(probe.weight.shape[1], probe.weight.shape[0])
    head.load_state_dict({"weight": torch.from_numpy(probe.weight), "bias": torch.from_numpy(probe.bias)})
    return nn.Sequential(backbone, head.to(next(backbone.parameters()).device))


def _probe_record(probe: Probe, method: ProbeMethod) -> dict[str, JsonValue]:
    losses: list[JsonValue] = [
        {"strength": strength, "log_loss": loss} for strength, loss in zip(method.strengths, probe.cross_validation, strict=True)
    ]
    return {"strength": probe.strength, "cross_validation": losses}
