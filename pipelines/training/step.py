"""One step of the optimiser, over as many parts as memory asks for and as many processes as there are.

Letters for shapes: b batch, m rows of this process, k labels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from pipelines.config import Recipe
from pipelines.core.errors import DataError
from pipelines.training.batches import StepBatch, stateless_seed
from pipelines.training.inputs import BatchSource
from pipelines.training.memory import halved, is_out_of_memory, micro_batch_size, release_memory
from pipelines.training.objective import Objective
from pipelines.training.optimization import l2_sp_penalty
from pipelines.training.regularisation import seeded_layers
from pipelines.training.runtime import Runtime

if TYPE_CHECKING:
    import torch
    from torch import nn

_N_NAMED_FILES = 5


@dataclass(frozen=True)
class StepPart:
    """Which part of which step goes through the network.

    Attributes:
        epoch, step: Of the training; epochs are counted from 1, steps from 0.
        number: Of the part, from 0.
        n_parts: Into which the step's batch is cut.
    """

    epoch: int
    step: int
    number: int
    n_parts: int


class PartLoss(Protocol):
    """A loss of a part of a step as a whole, in one process."""

    def __call__(self, view: nn.Sequential, inputs: torch.Tensor, targets: torch.Tensor, part: StepPart) -> torch.Tensor:
        """The mean loss over the part's samples, a scalar with gradients; all that is drawn at random depends on `part` alone."""


@dataclass(frozen=True, eq=False)
class Learner:
    """What all steps share.

    Attributes:
        network: Backbone and head, whose parameters are trained.
        view: What a batch goes through: the network, or its upper part, with dropout.
        start: The network's `state_dict` before training, on its device; needed for `l2_sp`.
        part_loss: In place of the objective; for one process only.
    """

    network: nn.Sequential
    view: nn.Sequential
    objective: Objective
    optimizer: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.LambdaLR
    recipe: Recipe
    runtime: Runtime
    seed: int
    start: Mapping[str, torch.Tensor]
    part_loss: PartLoss | None = None


@dataclass(frozen=True)
class StepOutcome:
    """What a step came to.

    Attributes:
        loss_sum: Of the losses of the whole batch's samples, over all processes.
        micro_batch: Samples that went through the network at once; smaller than before where memory ran out.
    """

    loss_sum: float
    micro_batch: int


def take_step(
    learner: Learner, prepared: nn.Module, batch: StepBatch, source: BatchSource, place: tuple[int, int], micro_batch: int
) -> StepOutcome:
    """Moves the weights once, by the mean loss of the whole batch.

    Args:
        learner: Whose weights are moved.
        prepared: `learner.view` as the runtime prepared it.
        batch: Of this process.
        source: Names the samples.
        place: Epoch and step, which decide all that is drawn at random.
        micro_batch: Samples that go through the network at once, the same in every process. In how many parts a batch is cut changes the
            result by rounding only, unless batch norm is live or layers drop at random.

    Raises:
        DataError: The loss or its gradient is not finite; names samples of the batch. The weights are as they were before the step.
    """
    import torch

    loss, micro_batch = _gradients_in_memory(learner, prepared, batch, place, micro_batch)
    trained = [parameter for parameter in learner.network.parameters() if parameter.grad is not None]
    norm = torch.nn.utils.clip_grad_norm_(trained, learner.recipe.max_gradient_norm)
    # Both at once: every number that is read waits for the device.
    own_loss, norm_value = torch.stack([loss, norm.double()]).tolist()
    loss_sum = learner.runtime.sum(own_loss)
    _refuse_not_finite("training loss", loss_sum / len(batch.chosen), source, batch.chosen)
    _refuse_not_finite("gradient norm", norm_value, source, batch.chosen)
    learner.optimizer.step()
    learner.scheduler.step()
    learner.optimizer.zero_grad()
    return StepOutcome(loss_sum, micro_batch)


def _gradients_in_memory(
    learner: Learner, prepared: nn.Module, batch: StepBatch, place: tuple[int, int], micro_batch: int
) -> tuple[torch.Tensor, int]:
    while True:
        try:
            return _gradients(learner, prepared, batch, place, micro_batch), micro_batch
        except (RuntimeError, MemoryError) as error:
            # With several processes the others wait for this one's gradients: no step can be repeated by one of them alone.
            if learner.runtime.n_processes > 1 or not is_out_of_memory(error):
                raise
            micro_batch = halved(min(micro_batch, len(batch.targets)), error)
        learner.optimizer.zero_grad()
        release_memory()


def _gradients(learner: Learner, prepared: nn.Module, batch: StepBatch, place: tuple[int, int], micro_batch: int) -> torch.Tensor:
    """Adds the gradients of the batch's mean loss and returns the sum of the losses of this process's samples.

    Batch norm that is shared by processes waits for the others in every part: all cut their rows into as many parts, and all use its own
    statistics or none does.
    """
    import torch

    runtime = learner.runtime
    total = torch.zeros((), dtype=torch.float64, device=runtime.device)
    with seeded_layers(stateless_seed("layers", learner.seed, *place, runtime.index), str(runtime.device)):
        n_parts, n_smallest = parts_of_step(len(batch.chosen), runtime.n_processes, micro_batch)
        set_modes(learner.view, learner.recipe.freeze_batch_norm, n_smallest)
        own = batch.inputs[: len(batch.targets)]
        parts = zip(own.tensor_split(n_parts), batch.targets.tensor_split(n_parts), strict=True)
        for number, (inputs, targets) in enumerate(parts, start=1):
            with nullcontext() if number == n_parts else runtime.no_sync(prepared):
                if len(targets):
                    part = StepPart(*place, number - 1, n_parts)
                    total += _backward(learner, prepared, inputs, targets, len(batch.chosen), part)
                else:
                    runtime.backward_of_nothing(prepared, batch.inputs[:1])
    return total


def parts_of_step(n_global: int, n_processes: int, micro_batch: int) -> tuple[int, int]:
    """Into how many parts every process cuts its rows of a step, and how many rows the smallest part of any process has.

    Args:
        n_global: Samples of the whole batch.
        n_processes: That share it (`Runtime.shard`).
        micro_batch: Samples that go through the network at once, at most.
    """
    n_parts = math.ceil(math.ceil(n_global / n_processes) / micro_batch)
    return n_parts, n_global // n_processes // n_parts


def _backward(
    learner: Learner, prepared: nn.Module, inputs: torch.Tensor, targets: torch.Tensor, n_global: int, part: StepPart
) -> torch.Tensor:
    if learner.part_loss is None:
        with learner.runtime.autocast():
            logits = prepared(inputs)
        loss = learner.objective.losses(logits, targets).sum()
    else:
        with learner.runtime.autocast():
            loss = learner.part_loss(learner.view, inputs, targets, part) * len(inputs)
    share = loss / n_global
    # Gradients of all processes are summed: what no sample stands for must come from one of them. The main one has rows in every part.
    if part.number == part.n_parts - 1 and learner.recipe.l2_sp > 0 and learner.runtime.is_main:
        share = share + l2_sp_penalty(learner.network, learner.start, learner.recipe.l2_sp)
    learner.runtime.backward(share)
    return loss.detach()


def set_modes(view: nn.Module, freeze_batch_norm: bool, n_samples: int) -> None:
    """Training mode, but for norms with running statistics that must not move.

    Those are: all of them where the recipe freezes them; those of blocks that are not trained; and all where a part of the step is a single
    sample, which has no statistics, or none. That is rare with one process and no limit, since a last batch of one joins another; but 3
    rows at `micro_batch_size: 2` are cut 2 + 1, and so may be the rows of a process where batches do not divide evenly.

    Args:
        view: What a batch goes through.
        freeze_batch_norm: Of the recipe.
        n_samples: Of the smallest part of the step, over all processes.
    """
    view.train()
    for name, module in view.named_modules():
        if getattr(module, "running_mean", None) is None:
            continue
        if freeze_batch_norm or n_samples <= 1 or _is_untrained(view, name):
            module.eval()


def _is_untrained(view: nn.Module, name: str) -> bool:
    # A norm without weights of its own belongs to what encloses it.
    while True:
        parameters = list(view.get_submodule(name).parameters())
        if parameters or not name:
            return bool(parameters) and not any(parameter.requires_grad for parameter in parameters)
        name = name.rpartition(".")[0]


def agreed_micro_batch(learner: Learner, source: BatchSource, wanted: int | None) -> int:
    """Samples that go through the network at once, one number for all processes: how often they wait for each other depends on it.

    Args:
        learner: Its view is tried on a GPU.
        source: Of training.
        wanted: `compute.micro_batch_size`.

    Raises:
        ConfigurationError: Not even one sample fits into memory.
    """
    share = math.ceil(learner.recipe.batch_size / learner.runtime.n_processes)
    if learner.runtime.device.type == "cpu":
        # A machine that lends more memory than it has kills the process: nothing to be learnt by trying. A step that fails is repeated.
        own = min(share, wanted or share)
    else:
        own = micro_batch_size(lambda n_samples: memory_trial(learner, source, n_samples), share, wanted)
    return learner.runtime.smallest(own)


def memory_trial(learner: Learner, source: BatchSource, n_samples: int) -> None:
    """Passes so many samples through the network and back, for nothing but to see whether memory takes them.

    Nothing stays changed: norms do not move, what layers draw is drawn apart, gradients are removed.
    """
    import torch

    inputs = torch.from_numpy(source.batch(np.resize(np.arange(len(source)), n_samples))).to(learner.runtime.device)
    try:
        with seeded_layers(0, str(learner.runtime.device)):
            set_modes(learner.view, freeze_batch_norm=True, n_samples=n_samples)
            with learner.runtime.autocast():
                logits = learner.view(inputs)
            logits.float().sum().backward()
    finally:
        learner.optimizer.zero_grad()


def _refuse_not_finite(what: str, value: float, source: BatchSource, chosen: NDArray[np.int64]) -> None:
    if math.isfinite(value):
        return
    paths = ", ".join(source.samples[int(index)].path for index in chosen[:_N_NAMED_FILES])
    raise DataError(
        got=f"a {what} of {value} in the batch with {paths} and {max(0, len(chosen) - _N_NAMED_FILES)} more samples.",
        allowed=f"a finite {what}.",
        next_step="lower method.learning_rate, and look at these samples.",
    )
