"""A trained network's tensors as safetensors can hold them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import nn


def network_tensors(network: nn.Sequential) -> dict[str, torch.Tensor]:
    """All tensors of backbone and head, as `backbone.NAME` and `head.NAME`, on the CPU."""
    parts = zip(("backbone", "head"), network, strict=True)
    return apart({f"{part}.{name}": tensor for part, module in parts for name, tensor in module.state_dict().items()})


def apart(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Contiguous, on the CPU, each in memory of its own: safetensors stores no tensor under two names, and some networks use one twice."""
    stored: dict[str, torch.Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        plain = tensor.detach().cpu().contiguous()
        stored[name] = plain.clone() if plain.data_ptr() in seen else plain
        seen.add(plain.data_ptr())
    return stored
