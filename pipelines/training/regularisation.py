"""Layers that drop at random while training: dropout before the head, stochastic depth in the backbone. What ships has neither."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pipelines.core.backbones import BackboneSpec, build_backbone
from pipelines.core.errors import ConfigurationError
from pipelines.core.text_backbone import TransformersSpec

if TYPE_CHECKING:
    from torch import nn


def training_view(network: nn.Sequential, dropout: float) -> nn.Sequential:
    """The network with dropout between backbone and head, on the same modules: training one trains the other.

    Srivastava et al. 2014, https://jmlr.org/papers/v15/srivastava14a.html. The network itself stays backbone and linear head, and its
    tensors keep their names.

    Args:
        network: Backbone and head.
        dropout: In [0, 1); 0 gives the network itself.
    """
    from torch import nn

    return nn.Sequential(network[0], nn.Dropout(dropout), network[1]) if dropout > 0 else network


@contextmanager
def seeded_layers(seed: int, device: str) -> Iterator[None]:
    """Makes what layers draw at random depend on `seed` alone, and leaves torch's global generators as they were.

    Args:
        seed: In [0, 2^63).
        device: Of the network; `cuda` is its current device.
    """
    import torch

    devices = [torch.cuda.current_device()] if device.startswith("cuda") else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        yield


def build_with_drop_path(spec: BackboneSpec | TransformersSpec, drop_path: float) -> nn.Module:
    """Builds the architecture with stochastic depth (Huang et al. 2016, https://arxiv.org/abs/1603.09382), its tensors' names unchanged.

    Args:
        spec: Stays as it is: drop path is no part of what ships.
        drop_path: Of the last block, rising from 0 or near it in the first, as timm does; in [0, 1).

    Raises:
        ConfigurationError: It is above 0 and the architecture has no stochastic depth.
    """
    if drop_path == 0:
        return build_backbone(spec)
    if isinstance(spec, TransformersSpec):
        raise _no_drop_path(spec, drop_path)
    try:
        network = build_backbone(spec.model_copy(update={"model_args": spec.model_args | {"drop_path_rate": drop_path}}))
    except ConfigurationError as error:
        if "drop_path_rate" not in str(error.__cause__):
            raise
        raise _no_drop_path(spec, drop_path) from error
    if not any(getattr(module, "drop_prob", 0.0) for module in network.modules()):
        raise _no_drop_path(spec, drop_path)
    return network


def _no_drop_path(spec: BackboneSpec | TransformersSpec, drop_path: float) -> ConfigurationError:
    return ConfigurationError(
        got=f"method.drop_path {drop_path:g} for {spec.name}, an architecture without stochastic depth.",
        allowed="0, or an architecture that has it: ResNet, EfficientNet, MobileNet, ConvNeXt, ViT.",
        next_step="remove method.drop_path from the conf file; method.dropout works with every architecture.",
    )
