"""Features of a frozen backbone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipelines.backbones import SelectedBackbone
from pipelines.config import ProjectConfig
from pipelines.progress import Progress, silent
from pipelines.training.inputs import SampleInputs
from pipelines.training.material import FeatureSource

if TYPE_CHECKING:
    from torch import nn

_BATCH_SIZE = 64


def embed(network: nn.Module, inputs: SampleInputs, progress: Progress = silent, activity: str = "features") -> NDArray[np.float32]:
    """Runs a network over all inputs in evaluation mode.

    Args:
        network: [b, c, h, w] -> [b, d].
        inputs: n samples.
        progress: Told after every batch.
        activity: What to call it there.

    Returns:
        float32 [n, d].
    """
    import torch

    network.eval()
    device = next(network.parameters()).device
    outputs = []
    with torch.inference_mode():
        for number, batch in enumerate(inputs.batches(_BATCH_SIZE), start=1):
            outputs.append(network(torch.from_numpy(batch).to(device)).cpu().numpy())
            progress(activity, min(number * _BATCH_SIZE, len(inputs)), len(inputs))
    return np.concatenate(outputs)


def cached_features(
    backbone: Callable[[], nn.Module], selected: SelectedBackbone, config: ProjectConfig, folder: Path, progress: Progress
) -> FeatureSource:
    """Features that are computed once for each sample, backbone and preprocessing."""
    return lambda inputs: embed(backbone(), inputs, progress)
