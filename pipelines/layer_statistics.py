"""How well images fit the statistics that a network's batch-norm layers stored when it was trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

_BATCH_SIZE = 16
# Channels that never vary divide by nothing: pruned or dead, they say nothing of the images.
_DEAD_FRAC = 1e-3
# The misfit of a layer that stored no variance at all: a finite number, since it is written as JSON.
NO_STATISTICS = 1e9


@dataclass(frozen=True)
class LayerFit:
    """One layer.

    Attributes:
        name: Of the module.
        misfit: Median over its channels of the KL divergence between the normal distributions that the images give and that it stored,
            0 where they are the same.
        mean_misfit: The mean over its channels: what the few that see colour have to say.
    """

    name: str
    misfit: float
    mean_misfit: float


class _EnoughLayersError(Exception):
    """All layers that were asked for have been reached."""


def layer_fits(network: nn.Module, images: Tensor, n_layers: int | None = None) -> list[LayerFit]:
    """The fit of batch-norm layers in the order in which they are reached.

    Args:
        network: In evaluation mode.
        images: [n, c, h, w].
        n_layers: The first ones, without computing the rest; nothing: all.

    Returns:
        Empty for a network without batch norm.
    """
    import torch

    reached: dict[str, list[Tensor]] = {}
    layers = {name: module for name, module in network.named_modules() if _has_statistics(module)}

    def record(name: str, batch: Tensor) -> None:
        axes = tuple(axis for axis in range(batch.ndim) if axis != 1)
        moments = torch.stack([batch.mean(axes), batch.square().mean(axes)]).double() * len(batch)
        reached.setdefault(name, []).append(moments)
        if n_layers is not None and len(reached) >= n_layers and name == list(reached)[n_layers - 1]:
            raise _EnoughLayersError

    handles = [layer.register_forward_pre_hook(lambda _, given, name=name: record(name, given[0])) for name, layer in layers.items()]
    try:
        with torch.inference_mode():
            for batch in torch.split(images, _BATCH_SIZE):
                _run_until_enough(network, batch)
    finally:
        for handle in handles:
            handle.remove()
    return [_fit(name, torch.stack(parts).sum(0) / len(images), layers[name]) for name, parts in reached.items()]


def _run_until_enough(network: nn.Module, batch: Tensor) -> None:
    try:
        network(batch)
    except _EnoughLayersError:
        return


def _has_statistics(module: Any) -> bool:
    from torch.nn.modules.batchnorm import _BatchNorm

    return isinstance(module, _BatchNorm) and module.running_mean is not None and module.running_var is not None


def _fit(name: str, moments: Tensor, layer: Any) -> LayerFit:
    mean, stored_mean, stored = moments[0], layer.running_mean.double(), layer.running_var.double()
    alive = stored > _DEAD_FRAC * stored.median()
    if not bool(alive.any()):
        return LayerFit(name, NO_STATISTICS, NO_STATISTICS)
    variance = (moments[1] - mean.square()).clamp(min=1e-12)[alive] / stored[alive]
    shift = (mean - stored_mean)[alive].square() / stored[alive]
    divergence = 0.5 * (variance + shift - 1 - variance.log())
    return LayerFit(name, float(divergence.median()), float(divergence.mean()))
