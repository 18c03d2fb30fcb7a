"""Outputs of a network for samples, the same bits whoever shares a batch with whom.

Letters for shapes: n samples, b batch, c channels, h height, w width, d outputs.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipelines.progress import Progress, silent
from pipelines.training.inputs import BatchSource, SampleInputs
from pipelines.training.loading import loaded_batches
from pipelines.training.memory import halved, release_memory
from pipelines.training.precision import FP32, Precision

if TYPE_CHECKING:
    import torch
    from torch import nn

# How a convolution or a matrix product is cut up, and with it the order of its sums, depends on the size of the batch: the same photo gives
# other last bits in a batch of 8 than in one of 32. In batches of one size it gives the same bits at every place and beside all others
# (the tests try it on networks of each kind). So every batch has this size, the last one too.
BATCH_SIZES = {"cpu": 32, "cuda": 128}
# A text is many rows of each matrix product, a sound many patches, and every length has a batch of its own to be filled up: with 32, some
# fifty texts of a dozen lengths were computed six times over.
BATCH_SIZES_OF_LENGTHS = BATCH_SIZES | {"cpu": 8}


def embed(
    network: nn.Module,
    inputs: BatchSource,
    progress: Progress = silent,
    activity: str = "features",
    *,
    n_workers: int | None = None,
    precision: Precision = FP32,
) -> NDArray[np.float32]:
    """Runs a network over all inputs; it is left in evaluation mode.

    A sample's output depends on nothing but the sample, the network and the machine: neither on the other samples nor on their order.

    Args:
        network: [b, c, h, w], of texts [b, l], of sounds [b, p, 1, t, m] -> [b, d].
        inputs: n samples, at least one.
        progress: Told after every batch.
        activity: What to call it there.
        n_workers: Threads that decode; nothing: one for each core.
        precision: What it is computed in.

    Returns:
        float32 [n, d].
    """
    outputs, order, done = [], [], 0
    with closing(embedded(network, inputs, np.arange(len(inputs)), n_workers=n_workers, precision=precision)) as computed:
        for chosen, rows in computed:
            outputs.append(rows)
            order.append(chosen)
            done += len(chosen)
            progress(activity, done, len(inputs))
    return np.concatenate(outputs)[np.argsort(np.concatenate(order))]


def embedded(
    network: nn.Module, inputs: BatchSource, places: NDArray[np.int64], *, n_workers: int | None, precision: Precision = FP32
) -> Generator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """As `embed`, batch by batch, texts of one length after the other: the places in `inputs`, and the float32 outputs [b, ...] there."""
    network.eval()
    size = at_once = batch_size(network)
    batches = [group[start : start + size] for group in _of_one_length(inputs, places) for start in range(0, len(group), size)]
    with closing(loaded_batches(inputs, batches, n_workers=n_workers, device=str(_device(network)))) as loaded:
        for chosen, batch in zip(batches, loaded, strict=True):
            outputs, at_once = _outputs(network, _filled_up(batch, size), at_once, precision)
            yield chosen, outputs[: len(chosen)]


def _of_one_length(inputs: BatchSource, places: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """The places in groups whose samples share a batch without padding one for the sake of another: its length moves the last bits."""
    lengths = inputs.lengths(places) if isinstance(inputs, SampleInputs) else None
    return [places] if lengths is None else [places[lengths == length] for length in np.unique(lengths)]


def batch_size(network: nn.Module) -> int:
    """Of every batch that goes through the network here."""
    from pipelines.core.patch_pooling import PatchPooling
    from pipelines.core.text_network import TextNetwork

    has_lengths = any(isinstance(module, TextNetwork | PatchPooling) for module in network.modules())
    return (BATCH_SIZES_OF_LENGTHS if has_lengths else BATCH_SIZES)[_device(network).type]


def _outputs(network: nn.Module, batch: torch.Tensor, at_once: int, precision: Precision) -> tuple[NDArray[np.float32], int]:
    """The outputs, and how many samples went through at once: fewer where memory ran out, and then with other last bits."""
    while True:
        try:
            parts = (batch[start : start + at_once] for start in range(0, len(batch), at_once))
            return np.concatenate([_forward(network, part, precision) for part in parts]), at_once
        except (RuntimeError, MemoryError) as error:
            at_once = halved(at_once, error)
        release_memory()


def _forward(network: nn.Module, batch: torch.Tensor, precision: Precision) -> NDArray[np.float32]:
    import torch

    device = _device(network)
    with torch.inference_mode(), torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision.is_bf16):
        outputs: torch.Tensor = network(batch.to(device, non_blocking=True))
        return outputs.float().cpu().contiguous().numpy()


def _filled_up(batch: torch.Tensor, size: int) -> torch.Tensor:
    """A batch of `size`: its own samples over and over, which are as good as any."""
    import torch

    if len(batch) == size:
        return batch
    memory_format = torch.channels_last if batch.ndim == 4 else torch.contiguous_format
    filled = torch.empty((size, *batch.shape[1:]), dtype=batch.dtype, memory_format=memory_format)
    for start in range(0, size, len(batch)):
        part = filled[start : start + len(batch)]
        part.copy_(batch[: len(part)])
    return filled


def _device(network: nn.Module) -> torch.device:
    return next(network.parameters()).device
