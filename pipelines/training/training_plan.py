"""What a training by gradient is given, what comes of it, and what tells it from every other.

Letters for shapes: b batch, c channels, h height, w width, k labels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import JsonValue

from pipelines.config import ProjectConfig, Recipe
from pipelines.core.bundle import canonical_json
from pipelines.core.modalities.adapters import Preprocess
from pipelines.progress import Progress
from pipelines.training.curve import Epoch
from pipelines.training.inputs import BatchSource
from pipelines.training.material import Deadline
from pipelines.training.runtime import Runtime
from pipelines.training.step import PartLoss

if TYPE_CHECKING:
    import torch
    from torch import nn

SECONDS_BETWEEN_CHECKPOINTS = 30.0


@dataclass(frozen=True, eq=False)
class TrainingPlan:
    """What is trained, on what and how.

    Attributes:
        name: Of the method.
        network: Backbone and head, [b, c, h, w] -> logits [b, k]; trained in place.
        upper: The part that `train` and `validation` go through, head included: the network itself, or what lies above the boundary
            whose activations they hold.
        groups: Parameters of the backbone's blocks that are trained, the uppermost first.
        n_open: How many of them are trained in an epoch, counted from 1.
        recipe: How.
        train, validation: Learnt from; chosen by.
        flips: Directions that leave labels true.
        preprocess: Nothing where the sources hold activations, which are not augmented.
        config: Of the project: seed, labels, workers.
        runtime: In the precision to be used.
        checkpoints: A folder; this training's own is made in it.
        deadline: Of whoever asked for it, besides `recipe.budget_minutes`.
        progress: Told of every step.
        seconds_between_checkpoints: Within an epoch; 0 writes one after every step.
        part_loss: In place of the recipe's loss, where it is more than a mean over labelled samples.
        before_epoch: Called before an epoch's first step, and again where a training goes on in the middle of one.
        keeps: Which epoch's weights are the result: the best on validation, or the last where validation is of another domain.
        judge: Log loss and accuracy on validation of the network as it is; nothing: those of its own answers.
        further_inputs: What else decides how the training goes, besides all of the above.
    """

    name: str
    network: nn.Sequential
    upper: nn.Sequential
    groups: Sequence[Sequence[nn.Parameter]]
    n_open: Callable[[int], int]
    recipe: Recipe
    train: BatchSource
    validation: BatchSource
    flips: tuple[Literal["horizontal", "vertical"], ...]
    preprocess: Preprocess | None
    config: ProjectConfig
    runtime: Runtime
    checkpoints: Path
    deadline: Deadline
    progress: Progress
    seconds_between_checkpoints: float = SECONDS_BETWEEN_CHECKPOINTS
    part_loss: PartLoss | None = None
    before_epoch: Callable[[int], None] | None = None
    keeps: Literal["best", "last"] = "best"
    judge: Callable[[], tuple[float, float]] | None = None
    further_inputs: Mapping[str, JsonValue] = field(default_factory=dict)

    @property
    def all_open_after(self) -> int:
        """The last epoch in which some group is still frozen; 0 where all are trained from the start."""
        return max((epoch for epoch in range(1, self.recipe.epochs + 1) if self.n_open(epoch) < len(self.groups)), default=0)


@dataclass(frozen=True, eq=False)
class Fit:
    """What came of a training; its network has the weights of the best epoch.

    Attributes:
        curve: Epoch 0, the start, first.
        start, best: The tensors that training changes, before it and in the best epoch, on the CPU.
        epoch_states: Those after each epoch, read from disk one by one; empty unless `greedy_soup` wants them.
        micro_batch: Samples that went through the network at once.
        cut_at: Epoch and steps done in it when time ran out; nothing where it did not.
    """

    curve: tuple[Epoch, ...]
    start: Mapping[str, torch.Tensor]
    best: Mapping[str, torch.Tensor]
    epoch_states: Sequence[Mapping[str, torch.Tensor]]
    micro_batch: int
    cut_at: tuple[int, int] | None


def training_identity(plan: TrainingPlan) -> str:
    """A sha256 over all that decides how the training goes, taken before its first step: no other one may go on from its checkpoints.

    The budget is no part of it: it decides when a training ends and not how it goes.
    """
    import torch

    content: dict[str, JsonValue] = {
        "name": plan.name,
        "recipe": plan.recipe.model_dump(mode="json", exclude={"budget_minutes"}),
        "seed": plan.config.seed,
        "flips": list(plan.flips),
        "spaces": [type(plan.train).__name__, plan.runtime.precision.name, str(plan.runtime.device), plan.runtime.n_processes],
        "samples": [[sample.id, sample.label] for source in (plan.train, plan.validation) for sample in source.samples],
        "start": state_digest(plan.network.state_dict()),
        "torch": torch.__version__,
        **plan.further_inputs,
    }
    return hashlib.sha256(canonical_json(content)).hexdigest()


def state_digest(state: Mapping[str, Any]) -> str:
    """sha256 over names, shapes and bytes of a network's tensors."""
    digest = hashlib.sha256()
    for name, tensor in state.items():
        values = tensor.detach().cpu().contiguous().numpy()
        digest.update(f"{name} {values.dtype} {values.shape}\n".encode())
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()
