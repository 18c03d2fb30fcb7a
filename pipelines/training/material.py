"""What a training method is given, and what it gives back.

Letters for shapes: n samples, b batch, c channels, h height, w width, d features, k labels.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from pipelines.config import ProjectConfig
from pipelines.progress import Progress
from pipelines.selected_backbone import SelectedBackbone
from pipelines.training.inputs import SampleInputs

if TYPE_CHECKING:
    from torch import nn

# Features [n, d] of the pretrained backbone for all samples of the inputs, in their order; kept between runs.
FeatureSource = Callable[[SampleInputs], NDArray[np.float32]]


@dataclass(frozen=True)
class Deadline:
    """When work must stop.

    Attributes:
        seconds: From the making of this object; nothing: never.
    """

    seconds: float | None
    started: float = field(default_factory=time.monotonic)

    @property
    def remaining_seconds(self) -> float:
        """At least 0; infinite without a limit."""
        return float("inf") if self.seconds is None else max(0.0, self.started + self.seconds - time.monotonic())

    @property
    def is_over(self) -> bool:
        """Whether the time is used up."""
        return self.remaining_seconds <= 0


@dataclass(frozen=True)
class Material:
    """What a method works with.

    Attributes:
        fresh_backbone: Makes the backbone with its pretrained weights on the device, [b, c, h, w] -> [b, d]; each call a new one, which the
            method may train in place. Its argument is the drop path of the last block, 0 for none.
        selected: Which backbone that is, and its preprocessing.
        train, validation: Learnt from; chosen by, never learnt from.
        config: The project's; a method's own section is given to it besides, since `auto` runs methods that the file does not name.
        features: Of the pretrained backbone.
        kept_activations: A folder that outlives the run, for what frozen blocks make of the samples.
        checkpoints: A folder that survives a kill and belongs to this training alone; removed when the stage is done.
        progress: Told of every step that takes long.
    """

    fresh_backbone: Callable[[float], nn.Module]
    selected: SelectedBackbone
    train: SampleInputs
    validation: SampleInputs
    config: ProjectConfig
    features: FeatureSource
    kept_activations: Path
    checkpoints: Path
    progress: Progress


@dataclass(frozen=True)
class Trained:
    """A trained network.

    Attributes:
        network: Backbone and head: [b, c, h, w] -> logits [b, k].
        record: What was tried and chosen, for `training.json`: nothing in it depends on time.
        costs_seconds: What each part took, for `costs.json`.
        validation_logits: float32 [n, k] of the validation samples in their order, where the method knows them without another forward
            pass, as a head on kept features does. None: the stage asks the network.
    """

    network: nn.Sequential
    record: dict[str, JsonValue]
    costs_seconds: dict[str, float] = field(default_factory=dict)
    validation_logits: NDArray[np.float32] | None = None
