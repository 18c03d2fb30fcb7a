"""Continued pretraining on images through the one training loop: checkpoints, schedule and deadline are its."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from pipelines.config import AugmentSection, ProjectConfig, Recipe
from pipelines.core.errors import ConfigurationError, RefusedError
from pipelines.progress import Progress, named
from pipelines.siamese.loss import HeldOutSimilarity, SiameseLoss, held_out_similarity
from pipelines.siamese.views import Views
from pipelines.training.batches import stateless_seed
from pipelines.training.curve import Epoch
from pipelines.training.flips import Flip
from pipelines.training.inputs import SampleInputs
from pipelines.training.loop import fit
from pipelines.training.material import Deadline
from pipelines.training.placing import place
from pipelines.training.regularisation import seeded_layers
from pipelines.training.rounds import Rounds, n_rounds_per_epoch
from pipelines.training.training_plan import Fit, TrainingPlan

if TYPE_CHECKING:
    from torch import nn

_LOGGER = logging.getLogger(__name__)
# The heads, which know nothing, learn at as many times the backbone's rate.
_HEAD_RATE = 10.0
_LEAST_STEPS_PER_ROUND = 16
# Of `output_spread`, which stays far above it on digits and photographs; without the stop-gradient it falls below within some dozen steps.
LEAST_SPREAD = 0.2


class ImagePretrainingSettings(BaseModel):
    """How a backbone goes on looking.

    Attributes:
        epochs: Passes over all images, after one in which the heads alone learn.
        batch_size: Images for one step.
        learning_rate: Peak, of all layers of the backbone; a tenth of the steps rise to it, and a cosine takes it to 0.
        minutes: Stop after as long, at a step's end, and keep the last whole round; nothing is no limit.
        seed: Of what is held out, of views and order, and of the heads.
        flips: Directions in which an image and its mirror image mean the same.
        least_area: A view shows at least this share of an image.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: Annotated[int, Field(ge=1)] = 20
    batch_size: Annotated[int, Field(ge=2)] = 64
    learning_rate: Annotated[float, Field(gt=0)] = 1e-4
    minutes: Annotated[float, Field(gt=0)] | None = None
    seed: int = 0
    flips: tuple[Flip, ...] = ()
    least_area: Annotated[float, Field(gt=0, le=1)] = 0.2


@dataclass(frozen=True)
class LookingOutcome:
    """What came of it.

    Attributes:
        before: On held-out images, by the backbone as it was, after the heads alone were trained for a pass.
        after: By what was trained.
        curve: Rounds, 0 being the start; `validation_log_loss` is the loss on held-out images, `validation_accuracy` their spread.
        rounds_of_heads: Rounds in which the heads alone were trained.
        rounds_per_epoch: Rounds that one pass over all images takes.
        cut_at: Round and steps done in it when time ran out; nothing where it did not.
    """

    before: HeldOutSimilarity
    after: HeldOutSimilarity
    curve: tuple[Epoch, ...]
    rounds_of_heads: int
    rounds_per_epoch: int
    cut_at: tuple[int, int] | None

    def as_json(self) -> dict[str, JsonValue]:
        """For the record; nothing in it depends on time unless that ran out."""
        return {
            "held_out_images": self.after.n_images,
            "loss_before": self.before.loss,
            "loss_after": self.after.loss,
            "spread_before": self.before.spread,
            "spread_after": self.after.spread,
            "curve": [_as_row(epoch) for epoch in self.curve],
            "rounds_of_heads_alone": self.rounds_of_heads,
            "rounds_per_epoch": self.rounds_per_epoch,
            "cut_by_deadline": None if self.cut_at is None else {"round": self.cut_at[0], "steps_done": self.cut_at[1]},
        }


def _as_row(epoch: Epoch) -> JsonValue:
    row = epoch.as_row()
    return {
        "round": row["number"],
        "train_loss": row["train_loss"],
        "held_out_loss": row["validation_log_loss"],
        "spread": row["validation_accuracy"],
    }


def look_on(
    backbone: nn.Module,
    train: SampleInputs,
    held_out: SampleInputs,
    views: Views,
    settings: ImagePretrainingSettings,
    config: ProjectConfig,
    checkpoints: Path,
    progress: Progress,
) -> LookingOutcome:
    """Trains the backbone in place to see the same in two views of an image (Chen and He 2021, https://arxiv.org/abs/2011.10566).

    We differ in AdamW with a cosine for all layers, in narrower heads, in crops of the resized image instead of the file's, in no shift of
    hue, in a blur that is as wide relative to the image, and in that the heads learn alone for a pass first: their random gradients would
    spoil what the backbone knows. The last round is kept: neither a lower loss nor a larger spread is a better backbone. Killed and called
    again it goes on to the same bits on the CPU.

    Args:
        backbone: [b, c, h, w] -> [b, d].
        train: Learnt from.
        held_out: Measured on.
        views: How views are made.
        settings: How the rest is done.
        config: Of the project: device and threads.
        checkpoints: A folder that survives a kill.
        progress: Told of every step.

    Raises:
        RefusedError: The outputs collapsed, or the loss on held-out images did not fall.
        ConfigurationError: The deadline was over before the backbone was trained for a round, or memory takes one image at once.
        DataError: A loss is not finite.
    """
    plan, watch = _plan(backbone, train, held_out, views, settings, config, checkpoints, progress)
    fitted = fit(plan)
    _refuse_no_gain(fitted, watch.rounds_of_heads)
    start = fitted.curve[watch.rounds_of_heads]
    before = HeldOutSimilarity(start.validation_log_loss, start.validation_accuracy, len(held_out))
    after = watch.measured()
    return LookingOutcome(before, after, fitted.curve, watch.rounds_of_heads, watch.rounds.n_rounds, fitted.cut_at)


@dataclass(eq=False)
class _Watch:
    """Measures a network on held-out images after each round, and ends a training whose outputs collapsed.

    Attributes:
        rounds_of_heads: Rounds in which the heads alone are trained, and cannot make the backbone collapse.
    """

    network: nn.Sequential
    held_out: SampleInputs
    views: Views
    seed: int
    n_workers: int | None
    rounds: Rounds
    rounds_of_heads: int
    has_begun: bool = field(default=False)

    def before_round(self, number: int) -> None:
        """Turns to its images."""
        self.has_begun = True
        self.rounds.renew(number)

    def measured(self) -> HeldOutSimilarity:
        """Of the network as it is."""
        return held_out_similarity(self.network, self.held_out, self.views, self.seed, self.n_workers)

    def judge(self) -> tuple[float, float]:
        """Loss and spread, as `TrainingPlan.judge`."""
        result = self.measured()
        number = self.rounds.number if self.has_begun else 0
        _LOGGER.info("round %d: loss %.4f on held-out images, spread of outputs %.3f", number, result.loss, result.spread)
        if number > self.rounds_of_heads and result.spread < LEAST_SPREAD:
            raise _collapsed(number, result)
        return result.loss, result.spread


def _collapsed(number: int, result: HeldOutSimilarity) -> RefusedError:
    return RefusedError(
        got=f"outputs for {result.n_images} held-out images with a spread of {result.spread:.3f} in round {number}: they have collapsed "
        f"into one, whatever the image (loss {result.loss:.4f}).",
        allowed=f"a spread of at least {LEAST_SPREAD}; 1 is that of outputs that point anywhere, 0 that of one for all images.",
        next_step="lower --learning-rate, raise --batch-size, or give images that differ more; nothing was written.",
    )


def _refuse_no_gain(fitted: Fit, rounds_of_heads: int) -> None:
    if len(fitted.curve) <= rounds_of_heads + 1:
        # Only a deadline ends a training so early: what was done is kept.
        raise ConfigurationError(
            got=f"a deadline that was over in round {len(fitted.curve)}, before a round in which the backbone was trained.",
            allowed=f"time for {rounds_of_heads + 1} rounds at least.",
            next_step="raise --minutes, or give fewer images; what is done so far is kept, and the command goes on from it.",
        )
    before, after = fitted.curve[rounds_of_heads].validation_log_loss, fitted.curve[-1].validation_log_loss
    if not after < before:
        raise RefusedError(
            got=f"a loss on held-out images that did not fall: {before:.4f} before, {after:.4f} after.",
            allowed="a lower loss than before.",
            next_step="give more images of the domain, lower --learning-rate, or keep the backbone as it is; nothing was written.",
        )


def _plan(
    backbone: nn.Module,
    train: SampleInputs,
    held_out: SampleInputs,
    views: Views,
    settings: ImagePretrainingSettings,
    config: ProjectConfig,
    checkpoints: Path,
    progress: Progress,
) -> tuple[TrainingPlan, _Watch]:
    config = config.model_copy(update={"seed": settings.seed, "compute": config.compute.model_copy(update={"processes": 1})})
    network = _network(backbone, train, settings.seed)
    rounds = Rounds(train, n_rounds_per_epoch(len(train), _LEAST_STEPS_PER_ROUND * settings.batch_size), settings.seed)
    watch = _Watch(network, held_out, views, settings.seed, config.compute.n_workers, rounds, rounds_of_heads=rounds.n_rounds)
    plan = TrainingPlan(
        name="continued-pretraining",
        network=network,
        upper=network,
        groups=[list(backbone.parameters())],
        n_open=lambda number: int(number > watch.rounds_of_heads),
        recipe=_recipe(settings, (settings.epochs + 1) * rounds.n_rounds),
        train=rounds,
        validation=held_out,
        flips=(),
        preprocess=None,
        config=config,
        runtime=place(network, rounds, config).runtime,
        checkpoints=checkpoints,
        deadline=Deadline(None),
        progress=named(progress, "continued pretraining"),
        part_loss=SiameseLoss(views, settings.seed),
        before_epoch=watch.before_round,
        keeps="last",
        judge=watch.judge,
        further_inputs={
            "images": [sample.id for sample in train.samples],
            "views": {"flips": list(views.flips), "least_area": views.least_area},
            "preprocess": views.preprocess.model_dump(mode="json"),
        },
    )
    return plan, watch


def _network(backbone: nn.Module, images: SampleInputs, seed: int) -> nn.Sequential:
    import torch
    from torch import nn

    from pipelines.siamese.heads import SiameseHeads

    device = next(backbone.parameters()).device
    with torch.inference_mode():
        n_features = backbone.eval()(torch.from_numpy(images.batch([0])).to(device)).shape[1]
    with seeded_layers(stateless_seed("siamese heads", seed), "cpu"):
        heads = SiameseHeads(n_features)
    return nn.Sequential(backbone, heads)


def _recipe(settings: ImagePretrainingSettings, n_rounds: int) -> Recipe:
    return Recipe(
        epochs=n_rounds,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate * _HEAD_RATE,
        layer_decay=1 / _HEAD_RATE,
        weight_decay=0.01,
        label_smoothing=0.0,
        freeze_batch_norm=False,
        early_stopping_epochs=None,
        augment=AugmentSection(policy="none"),
        budget_minutes=settings.minutes,
    )
