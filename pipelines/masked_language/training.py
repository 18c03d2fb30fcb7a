"""Continued pretraining through the one training loop: checkpoints, schedule, deadline and the best round are its."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from pipelines.config import AugmentSection, ProjectConfig, Recipe
from pipelines.core.errors import ConfigurationError, RefusedError
from pipelines.masked_language.loss import HeldOutLoss, MaskedLoss, held_out_loss
from pipelines.masked_language.masking import Masking
from pipelines.masked_language.model import LoadedModel
from pipelines.masked_language.pieces import PieceInputs
from pipelines.masked_language.texts import Piece
from pipelines.progress import Progress, named
from pipelines.training.curve import Epoch, best_epoch
from pipelines.training.loop import fit
from pipelines.training.material import Deadline
from pipelines.training.rounds import Rounds, n_rounds_per_epoch
from pipelines.training.runtime import Runtime
from pipelines.training.training_plan import Fit, TrainingPlan

if TYPE_CHECKING:
    from torch import nn

# A head that knows nothing learns at as many times the backbone's rate.
_NEW_HEAD_RATE = 10.0
_LEAST_PER_ROUND = 32


class PretrainingSettings(BaseModel):
    """How a backbone goes on reading.

    Attributes:
        epochs: Passes over all texts.
        batch_size: Pieces of text for one step.
        learning_rate: Peak, of all layers; a tenth of the steps rise to it, and a cosine takes it to 0.
        minutes: Stop after as long, at a step's end, and keep the best round so far; nothing is no limit.
        seed: Of what is held out, hidden and shuffled, and of a new head.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: Annotated[int, Field(ge=1)] = 3
    batch_size: Annotated[int, Field(ge=2)] = 16
    learning_rate: Annotated[float, Field(gt=0)] = 5e-5
    minutes: Annotated[float, Field(gt=0)] | None = None
    seed: int = 0


@dataclass(frozen=True)
class Reading:
    """The pieces of text, and what hides tokens of them."""

    train: Sequence[Piece]
    held_out: Sequence[Piece]
    masking: Masking


@dataclass(frozen=True)
class Outcome:
    """What came of it.

    Attributes:
        before: On held-out texts, by the backbone as it was; with a new head, after that alone was trained for a round.
        after: By what was trained.
        curve: Rounds, 0 being the start; `validation_log_loss` is the loss on held-out texts.
        rounds_of_head: Rounds in which a new head alone was trained.
        rounds_per_epoch: Rounds that one pass over all texts takes.
        cut_at: Round and steps done in it when time ran out; nothing where it did not.
    """

    before: HeldOutLoss
    after: HeldOutLoss
    curve: tuple[Epoch, ...]
    rounds_of_head: int
    rounds_per_epoch: int
    cut_at: tuple[int, int] | None

    def as_json(self) -> dict[str, JsonValue]:
        """For the record; nothing in it depends on time unless that ran out."""
        return {
            "held_out_tokens": self.after.n_tokens,
            "loss_before": self.before.loss,
            "loss_after": self.after.loss,
            "accuracy_before": self.before.accuracy,
            "accuracy_after": self.after.accuracy,
            "curve": [dict(epoch.as_row()) for epoch in self.curve],
            "rounds_of_new_head_alone": self.rounds_of_head,
            "rounds_per_epoch": self.rounds_per_epoch,
            "cut_by_deadline": None if self.cut_at is None else {"round": self.cut_at[0], "steps_done": self.cut_at[1]},
        }


def read_on(
    model: LoadedModel, reading: Reading, settings: PretrainingSettings, config: ProjectConfig, checkpoints: Path, progress: Progress
) -> Outcome:
    """Trains the model in place to guess hidden tokens (Gururangan et al. 2020, https://arxiv.org/abs/2004.10964).

    We differ in keeping the best round on held-out texts, and in that a new head learns alone for a round first: its random gradients would
    spoil what the backbone knows. Killed and called again it goes on to the same bits on the CPU.

    Args:
        model: Of `load_language_model`.
        reading: Pieces of text.
        settings: How.
        config: Of the project: device and threads.
        checkpoints: A folder that survives a kill.
        progress: Told of every step.

    Raises:
        RefusedError: The loss on held-out texts did not fall.
        ConfigurationError: The deadline was over before the backbone was trained for a round.
        DataError: A loss is not finite.
    """
    plan = _plan(model, reading, settings, config, checkpoints, progress)
    fitted = fit(plan)
    rounds_of_head = int(model.has_new_head)
    after = _measured(plan.network, reading, settings.seed)
    _refuse_no_gain(fitted, rounds_of_head, after)
    start = fitted.curve[rounds_of_head]
    before = HeldOutLoss(start.validation_log_loss, start.validation_accuracy, after.n_tokens)
    return Outcome(before, after, fitted.curve, rounds_of_head, _rounds(reading), fitted.cut_at)


def _rounds(reading: Reading) -> int:
    return n_rounds_per_epoch(len(reading.train), _LEAST_PER_ROUND)


def _measured(network: nn.Module, reading: Reading, seed: int) -> HeldOutLoss:
    return held_out_loss(network, reading.held_out, reading.masking, seed)


def _refuse_no_gain(fitted: Fit, rounds_of_head: int, after: HeldOutLoss) -> None:
    if fitted.cut_at is not None and best_epoch(fitted.curve) <= rounds_of_head:
        # With more time it may yet fall: what was done is kept.
        raise ConfigurationError(
            got=f"a deadline that was over in round {fitted.cut_at[0]}, before a round in which the backbone was trained measured better.",
            allowed=f"time for {rounds_of_head + 1} rounds at least, and for the loss to fall.",
            next_step="raise --minutes, or give fewer texts; what is done so far is kept, and the command goes on from it.",
        )
    if after.n_tokens == 0 or best_epoch(fitted.curve) <= rounds_of_head:
        least = min((epoch.validation_log_loss for epoch in fitted.curve[rounds_of_head + 1 :]), default=float("nan"))
        start = fitted.curve[rounds_of_head].validation_log_loss
        raise RefusedError(
            got=f"a loss on {after.n_tokens} hidden tokens of held-out texts that did not fall: {start:.4f} before, {least:.4f} after.",
            allowed="a lower loss than before.",
            next_step="give more texts of the domain, lower --learning-rate, or keep the backbone as it is; nothing was written.",
        )


def _plan(
    model: LoadedModel, reading: Reading, settings: PretrainingSettings, config: ProjectConfig, checkpoints: Path, progress: Progress
) -> TrainingPlan:
    config = config.model_copy(update={"seed": settings.seed, "compute": config.compute.model_copy(update={"processes": 1})})
    runtime = Runtime.start(config)
    network = _with_head(model).to(runtime.device)
    rounds_of_head = int(model.has_new_head)
    rounds = Rounds(PieceInputs(reading.train), _rounds(reading), settings.seed)
    return TrainingPlan(
        name="continued-pretraining",
        network=network,
        upper=network,
        groups=[list(model.network.base.parameters())],
        n_open=lambda number: int(number > rounds_of_head),
        recipe=_recipe(settings, settings.epochs * rounds.n_rounds + rounds_of_head, _NEW_HEAD_RATE if model.has_new_head else 1.0),
        train=rounds,
        validation=PieceInputs(reading.held_out),
        flips=(),
        preprocess=None,
        config=config,
        runtime=runtime,
        checkpoints=checkpoints,
        deadline=Deadline(None),
        progress=named(progress, "continued pretraining"),
        part_loss=MaskedLoss(reading.masking, settings.seed),
        before_epoch=rounds.renew,
        judge=_judge(network, reading, settings.seed),
        further_inputs={"pieces": _digest((*reading.train, *reading.held_out)), "new_head": model.has_new_head},
    )


def _with_head(model: LoadedModel) -> nn.Sequential:
    from torch import nn

    from pipelines.masked_language.network import HeadParameters

    return nn.Sequential(model.network, HeadParameters(model.head))


def _judge(network: nn.Module, reading: Reading, seed: int) -> Callable[[], tuple[float, float]]:
    def judge() -> tuple[float, float]:
        result = _measured(network, reading, seed)
        return result.loss, result.accuracy

    return judge


def _digest(pieces: Sequence[Piece]) -> str:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(f"{piece.name} {len(piece.ids)}\n".encode() + piece.ids.tobytes())
    return digest.hexdigest()


def _recipe(settings: PretrainingSettings, n_rounds: int, head_rate: float) -> Recipe:
    return Recipe(
        epochs=n_rounds,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate * head_rate,
        layer_decay=1 / head_rate,
        weight_decay=0.01,
        label_smoothing=0.0,
        early_stopping_epochs=None,
        augment=AugmentSection(policy="none"),
        budget_minutes=settings.minutes,
    )
