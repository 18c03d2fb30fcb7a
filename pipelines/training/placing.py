"""A network on its device, in the precision that it is trained in: where trainings by gradient begin.

Letters for shapes: m compared samples; further axes are of one sample.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipelines.config import ProjectConfig
from pipelines.training.inputs import BatchSource
from pipelines.training.precision import choose_precision
from pipelines.training.runtime import Runtime

if TYPE_CHECKING:
    import torch
    from torch import nn

# Samples that precisions are compared on.
_N_COMPARED = 32


@dataclass(frozen=True, eq=False)
class Placed:
    """Where a network is trained.

    Attributes:
        runtime: In the precision that was chosen.
        example: [m, ...], the first training samples, on the CPU; at most 32.
    """

    runtime: Runtime
    example: torch.Tensor


def place(network: nn.Sequential, train: BatchSource, config: ProjectConfig) -> Placed:
    """Joins the processes of the training, moves the network to the device and chooses its precision.

    Args:
        network: Backbone and head, moved in place; the backbone alone decides on the precision.
        train: Training samples.
        config: Says the processes, the device and the precision.

    Raises:
        ConfigurationError: As `Runtime.start`; or bfloat16 is asked for where the processor lacks it.
    """
    import torch

    runtime = Runtime.start(config)
    example = torch.from_numpy(train.batch(np.arange(min(_N_COMPARED, len(train)))))
    network.to(runtime.device)
    return Placed(runtime.at(choose_precision(config.compute.precision, network[0], example, runtime.device)), example)
