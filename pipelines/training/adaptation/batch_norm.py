"""Batch-norm statistics of the target domain: the cheapest adaptation, without a step of training.

Letters for shapes: n samples, c channels.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.core.errors import ConfigurationError
from pipelines.training.inputs import BatchSource
from pipelines.training.loading import loaded_batches

if TYPE_CHECKING:
    import torch
    from torch import nn

_BATCH_SIZE = 64


def reestimate_batch_norm(network: nn.Module, inputs: BatchSource, source_samples: float = 0.0, n_workers: int | None = None) -> int:
    """Gives every batch norm the mean and variance that its inputs have on other samples (AdaBN, Li et al. 2016).

    https://arxiv.org/abs/1603.04779. As there, each layer normalises by the target's own statistics while the layers above it are
    measured. We differ in pooling exactly: mean and variance are those of all values together, not averages over batches; and in that the
    source's statistics may count as `source_samples` samples (Schneider et al. 2020, https://arxiv.org/abs/2006.16971). Above the first
    layer the result depends a little on which samples share a batch; batches are taken in the samples' order, so it is the same each time.
    Where samples are padded, by patches of sound that are none, the padding is no part of a statistic.

    Args:
        network: Changed in place, its weights excepted; left in evaluation mode.
        inputs: n samples of the target domain, 2 at least.
        source_samples: Weight of the statistics that the network has, in samples.
        n_workers: Threads that decode; nothing: one for each core.

    Returns:
        The number of layers.

    Raises:
        ConfigurationError: The network has no layer with running statistics.
    """
    import torch

    network.eval()
    measured = {norm: _Moments() for norm in batch_norms(network)}
    device = next(network.parameters()).device
    parts = np.array_split(np.arange(len(inputs)), -(-len(inputs) // _BATCH_SIZE))
    with _measuring(network, measured), torch.inference_mode(), closing(_loaded(inputs, parts, n_workers, str(device))) as batches:
        for batch in batches:
            network(batch.to(device))
    for norm, moments in measured.items():
        moments.write_into(norm, len(inputs), source_samples)
    return len(measured)


def batch_norms(network: nn.Module) -> list[nn.Module]:
    """The layers that keep running statistics, at least one.

    Raises:
        ConfigurationError: There is none.
    """
    found = [module for module in network.modules() if getattr(module, "running_mean", None) is not None]
    if not found:
        raise ConfigurationError(
            got="method adapt with by: bn for a network without batch norm.",
            allowed="a backbone with batch-norm layers, as ResNet, MobileNet and EfficientNet have; ViT, ConvNeXt and transformers of texts"
            " have none.",
            next_step="write by: coral, dann or shot, or take another backbone.",
        )
    return found


def _loaded(inputs: BatchSource, parts: list[Any], n_workers: int | None, device: str) -> Any:
    return loaded_batches(inputs, parts, n_workers=n_workers, device=device)


@dataclass
class _Moments:
    """Sums over all values that came by, for each channel."""

    n_values: int = 0
    total: torch.Tensor | None = field(default=None)
    squares: torch.Tensor | None = field(default=None)

    def add(self, values: torch.Tensor) -> None:
        """Takes activations [n, c, ...]."""
        rows = values.transpose(0, 1).flatten(1).double()
        total, squares = rows.sum(dim=1), rows.square().sum(dim=1)
        self.n_values += rows.shape[1]
        self.total = total if self.total is None else self.total + total
        self.squares = squares if self.squares is None else self.squares + squares

    def write_into(self, norm: Any, n_samples: int, source_samples: float) -> None:
        """Sets running mean and variance, the variance unbiased as torch's own is."""
        if self.total is None or self.squares is None:  # a layer that no sample goes through
            return
        mean = self.total / self.n_values
        variance = (self.squares / self.n_values - mean.square()).clamp_min(0) * (self.n_values / max(1, self.n_values - 1))
        share = n_samples / (n_samples + source_samples)
        norm.running_mean.copy_(share * mean + (1 - share) * norm.running_mean)
        norm.running_var.copy_(share * variance + (1 - share) * norm.running_var)


@contextmanager
def _measuring(network: nn.Module, measured: dict[nn.Module, _Moments]) -> Iterator[None]:
    """Lets the layers normalise by their batch, look at what comes in, and keep their own statistics meanwhile."""
    from pipelines.core.patch_pooling import PatchPooling

    poolings = [module for module in network.modules() if isinstance(module, PatchPooling)]
    for pooling in poolings:
        pooling.training = True  # its own mode alone: padding then does not go through the network
    handles = []
    before: list[tuple[Any, float | None, Any]] = []
    for norm, moments in measured.items():

        def look(_: nn.Module, inputs: tuple[torch.Tensor, ...], moments: _Moments = moments) -> None:
            moments.add(inputs[0])

        plain: Any = norm
        tracked = plain.num_batches_tracked
        before.append((plain, plain.momentum, None if tracked is None else tracked.clone()))
        plain.train()
        plain.momentum = 0.0
        handles.append(norm.register_forward_pre_hook(look))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        for pooling in poolings:
            pooling.training = False
        for norm, momentum, tracked in before:
            norm.eval()
            norm.momentum = momentum
            if tracked is not None:
                norm.num_batches_tracked.copy_(tracked)
