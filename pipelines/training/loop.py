"""The training loop: epochs of steps, judged on validation, stopped in time, gone on with after a kill as if nothing had been."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from pipelines.training.batches import Batches
from pipelines.training.checkpoint import Checkpoint, CheckpointFolder
from pipelines.training.curve import Epoch, best_epoch, stops_early
from pipelines.training.ema import Ema
from pipelines.training.embedding import embed
from pipelines.training.material import Deadline
from pipelines.training.objective import make_objective
from pipelines.training.optimization import build_optimizer, open_groups
from pipelines.training.position import Position, from_checkpoint, only, snapshot, to_tensors
from pipelines.training.regularisation import training_view
from pipelines.training.step import Learner, agreed_micro_batch, take_step
from pipelines.training.training_plan import Fit, TrainingPlan, training_identity
from pipelines.training.validation import measure

if TYPE_CHECKING:
    import torch
    from torch import nn

_LOGGER = logging.getLogger(__name__)
# Checkpoints of a large network take their time; all together may cost this share of the time at most.
_CHECKPOINT_FRAC = 0.05


def fit(plan: TrainingPlan) -> Fit:
    """Trains the network in place and leaves the weights of the best epoch in it, the start included, or of the last (`plan.keeps`).

    Goes on from the newest checkpoint of this very training. The start counts as epoch 0, so the end is never worse on validation. With a
    budget the loop ends at a step's end; the epoch that was not finished is not judged. On the CPU the result is the same to the bit in
    every run, killed ones included; on a GPU torch's faster algorithms add in an order of their own.

    Returns:
        The best epoch is the first with the lowest validation log loss.

    Raises:
        DataError: The loss is not finite; names samples of the batch. The last checkpoint stays.
        ConfigurationError: Not even one sample fits into memory.
    """
    with _deterministic(plan.runtime.device.type == "cpu"):
        run = _begun(plan)
        start = snapshot(plan.network.state_dict(), run.moving)
        run.resume()
        cut = run.train()
        plan.network.load_state_dict(dict(run.position.best), strict=False)
    plan.network.eval()
    states = EpochStates(run.folder, tuple(run.position.epoch_files))
    return Fit(tuple(run.position.curve), start, run.position.best, cast("Any", states), run.position.micro_batch, cut)


@dataclass(frozen=True)
class EpochStates:
    """The weights after each epoch, read from disk when asked for: together they may not fit into memory."""

    folder: CheckpointFolder
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, number: int) -> Mapping[str, torch.Tensor]:
        return self.folder.load_epoch(self.names[number])


@dataclass(eq=False)
class _Run:
    """A training under way."""

    plan: TrainingPlan
    learner: Learner
    batches: Batches
    ema: Ema | None
    moving: set[str]
    folder: CheckpointFolder
    position: Position
    budget: Deadline = field(default_factory=lambda: Deadline(None))
    started: float = field(default_factory=time.monotonic)
    saved: float = field(default_factory=time.monotonic)
    save_seconds: float = 0.0
    n_open: int | None = None
    prepared: nn.Module | None = None

    def resume(self) -> None:
        """Goes on from the newest checkpoint if there is one, and sets the clock."""
        found = self.folder.load()
        n_steps = _steps_of(found, self.folder)
        if self.plan.runtime.any(self.plan.runtime.sum(n_steps) != n_steps * self.plan.runtime.n_processes):
            _LOGGER.warning("training begins anew: not every process finds the same checkpoint")
        elif found is not None and n_steps >= 0:
            self.position = from_checkpoint(found, self.learner, self.ema)
        if not self.position.curve:
            self.position.micro_batch = agreed_micro_batch(self.learner, self.plan.train, self.plan.config.compute.micro_batch_size)
        minutes = self.plan.recipe.budget_minutes
        self.budget = Deadline(None if minutes is None else minutes * 60 - self.position.seconds)

    def train(self) -> tuple[int, int] | None:
        """Trains to the end and returns nothing, or where time ran out."""
        position, recipe = self.position, self.plan.recipe
        if not position.curve:
            self._judge(0, None)
            self._save()
        while position.epoch <= recipe.epochs and not stops_early(position.curve, recipe.early_stopping_epochs, self.plan.all_open_after):
            if not self._epoch():
                return position.epoch, position.step
            self._judge(position.epoch, position.loss_sum / len(self.plan.train))
            position.epoch, position.step, position.loss_sum = position.epoch + 1, 0, 0.0
            self._save_when_due(0.0)
        self._tell(recipe.epochs * self.batches.n_steps)
        return None

    def _epoch(self) -> bool:
        """Does the steps of an epoch that are left; False where time ran out."""
        position = self.position
        prepared = self._opened()
        if self.plan.before_epoch is not None:
            self.plan.before_epoch(position.epoch)
        with closing(self.batches.of_epoch(position.epoch, position.step)) as batches:
            for batch in batches:
                if self._time_is_over():
                    return False
                place = (position.epoch, position.step)
                outcome = take_step(self.learner, prepared, batch, self.plan.train, place, position.micro_batch)
                if self.ema is not None:
                    self.ema.update(self.plan.network)
                position.micro_batch = outcome.micro_batch
                position.loss_sum += outcome.loss_sum
                position.step, position.n_steps = position.step + 1, position.n_steps + 1
                self._save_when_due(self.plan.seconds_between_checkpoints)
                self._tell(position.n_steps)
        return True

    def _opened(self) -> nn.Module:
        n_open = self.plan.n_open(self.position.epoch)
        if self.prepared is None or n_open != self.n_open:
            open_groups(self.plan.groups, n_open)
            self.prepared, self.n_open = self.plan.runtime.prepare(self.learner.view), n_open
        return self.prepared

    def _judge(self, number: int, train_loss: float | None) -> None:
        position, runtime = self.position, self.plan.runtime
        with self._judged_weights():
            # One process for all: batch norm's statistics may differ between them.
            log_loss, accuracy = validation_loss(self.plan) if runtime.is_main else (0.0, 0.0)
            position.curve.append(Epoch(number, train_loss, runtime.sum(log_loss), runtime.sum(accuracy)))
            is_best = self.plan.keeps == "last" or best_epoch(position.curve) == number
            # Of all epochs or of none: the soup names them by their places.
            is_whole = len(position.epoch_files) == number
            keeps_all = "greedy_soup" in self.plan.recipe.after and runtime.is_main and is_whole
            weights = snapshot(self.plan.network.state_dict(), self.moving) if is_best or keeps_all else {}
        if is_best:
            position.best = weights
        if keeps_all:
            self._keep_epoch(number, weights)

    def _keep_epoch(self, number: int, weights: Mapping[str, torch.Tensor]) -> None:
        from safetensors import SafetensorError

        try:
            self.position.epoch_files.append(self.folder.save_epoch(number, weights))
        except (OSError, SafetensorError) as error:
            _LOGGER.warning("the weights of epoch %d could not be written, greedy_soup is left out: %s", number, error)

    @contextmanager
    def _judged_weights(self) -> Iterator[None]:
        """With an average, the network has its weights meanwhile."""
        if self.ema is None:
            yield
            return
        network = self.plan.network
        trained = {name: tensor.clone() for name, tensor in only(network.state_dict(), self.moving).items()}
        network.load_state_dict(self.ema.weights)
        try:
            yield
        finally:
            network.load_state_dict(trained, strict=False)

    def _time_is_over(self) -> bool:
        if self.plan.recipe.budget_minutes is None and self.plan.deadline.seconds is None:
            return False
        return self.plan.runtime.any(self.budget.is_over or self.plan.deadline.is_over)

    def _save_when_due(self, seconds_between: float) -> None:
        if time.monotonic() - self.saved >= max(seconds_between, self._rest_seconds):
            self._save()

    @property
    def _rest_seconds(self) -> float:
        return 0.0 if self.plan.seconds_between_checkpoints == 0 else self.save_seconds / _CHECKPOINT_FRAC

    def _save(self) -> None:
        if not self.plan.runtime.is_main:
            return
        began = time.monotonic()
        self.position.seconds += began - self.started
        tensors, state = to_tensors(self.position, self.learner, self.ema, self.moving)
        if all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
            self._write(tensors, state)
        self.started = self.saved = time.monotonic()
        self.save_seconds = self.saved - began

    def _write(self, tensors: Mapping[str, torch.Tensor], state: Mapping[str, Any]) -> None:
        from safetensors import SafetensorError

        try:
            self.folder.save(self.position.n_steps, tensors, state)
        except (OSError, SafetensorError) as error:
            # A full disk costs what a kill would lose, not the training.
            _LOGGER.warning("no checkpoint could be written, a kill now would cost what came after the last one: %s", error)

    def _tell(self, n_steps: int) -> None:
        if self.plan.runtime.is_main:
            self.plan.progress("fine-tuning", n_steps, self.plan.recipe.epochs * self.batches.n_steps)


def validation_loss(plan: TrainingPlan) -> tuple[float, float]:
    """Log loss and accuracy of the network as it is, on the validation split."""
    if plan.judge is not None:
        return plan.judge()
    logits = embed(plan.upper, plan.validation, n_workers=plan.config.compute.n_workers)
    result = measure(logits, plan.validation.targets, plan.config.labels_per_sample)
    return result.log_loss, result.accuracy


def _begun(plan: TrainingPlan) -> _Run:
    """Everything at its start."""
    import torch

    # At once, not with the first step: a run that finds nothing left to do must measure to the same last bits as the one before it.
    plan.network.to(memory_format=torch.channels_last)
    folder = CheckpointFolder(plan.checkpoints / f"{plan.name}-{(identity := training_identity(plan))[:16]}", identity)
    batches = _batches(plan)
    view = training_view(plan.upper, plan.recipe.dropout)
    optimizer, scheduler = build_optimizer(plan.network, plan.groups, plan.recipe, plan.recipe.epochs * batches.n_steps)
    moving = moving_names(plan.network)
    # The pull is to these very weights, so they must not move with the network.
    start = {name: tensor.detach().clone() for name, tensor in only(plan.network.state_dict(), moving).items()}
    learner = Learner(
        network=plan.network,
        view=view,
        objective=batches.objective,
        optimizer=optimizer,
        scheduler=scheduler,
        recipe=plan.recipe,
        runtime=plan.runtime,
        seed=plan.config.seed,
        start=start if plan.recipe.l2_sp > 0 else {},
        part_loss=plan.part_loss,
    )
    ema = None if plan.recipe.ema_decay is None else Ema(plan.network, plan.recipe.ema_decay)
    return _Run(plan, learner, batches, ema, moving, folder, Position(micro_batch=plan.recipe.batch_size))


def _batches(plan: TrainingPlan) -> Batches:
    config = plan.config
    objective = make_objective(plan.train.targets, len(config.labels), config.labels_per_sample, plan.recipe, str(plan.runtime.device))
    return Batches(
        source=plan.train,
        batch_size=plan.recipe.batch_size,
        augment=plan.recipe.augment,
        flips=plan.flips,
        preprocess=plan.preprocess,
        objective=objective,
        runtime=plan.runtime,
        seed=config.seed,
        n_workers=config.compute.n_workers,
    )


def moving_names(network: nn.Module) -> set[str]:
    """Names in the `state_dict` that training may change: parameters that are trained, and all buffers."""
    from torch import nn

    state = network.state_dict(keep_vars=True)
    return {name for name, tensor in state.items() if not isinstance(tensor, nn.Parameter) or tensor.requires_grad}


def _steps_of(found: Checkpoint | None, folder: CheckpointFolder) -> int:
    """Steps done at a checkpoint; -1 where there is none, or a file that it needs is not whole."""
    if found is None:
        return -1
    position: dict[str, Any] = cast("Any", found.state)["position"]
    return int(position["n_steps"]) if all(folder.has(name) for name in position["epoch_files"]) else -1


@contextmanager
def _deterministic(is_wanted: bool) -> Iterator[None]:
    import torch

    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(is_wanted or before)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
