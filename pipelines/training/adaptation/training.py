"""DANN and SHOT through the one training loop: epochs, checkpoints, schedule, average of weights and time limit are its."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from pydantic import JsonValue

from pipelines.config import AdaptMethod, AdaptRecipe
from pipelines.core.errors import ConfigurationError
from pipelines.training.adaptation.dann import DannLoss, domain_head, plain_head
from pipelines.training.adaptation.shot import PseudoLabels, ShotLoss, frozen_head, thawed_head
from pipelines.training.adaptation.target_batches import TargetBatches
from pipelines.training.batches import epoch_batches
from pipelines.training.flips import tolerated_flips
from pipelines.training.inputs import SampleInputs
from pipelines.training.loop import fit
from pipelines.training.material import Deadline, Material, Trained
from pipelines.training.objective import make_objective
from pipelines.training.optimization import trainable_groups
from pipelines.training.placing import place
from pipelines.training.training_plan import Fit, TrainingPlan

if TYPE_CHECKING:
    from torch import nn


def adapt_by_dann(material: Material, method: AdaptMethod, source: nn.Sequential, target: SampleInputs) -> Trained:
    """Trains backbone and head on the labelled samples and, behind a reversed gradient, against a discriminator of the domains.

    Args:
        material: Labelled samples of the source.
        method: Its `dann`.
        source: The model to begin with; changed in place.
        target: Unlabelled samples.

    Raises:
        ConfigurationError: Several processes; more blocks than there are; or one sample does not fit into memory.
        DataError: A loss is not finite.
    """
    from torch import nn

    recipe, config = method.dann.recipe, material.config
    network = nn.Sequential(source[0], domain_head(cast("nn.Linear", source[1]), method.dann.n_hidden, config.seed))
    plan = _plan(material, method, recipe, network, material.train, target)
    steps = epoch_batches(config.seed, 0, len(material.train), recipe.batch_size)
    loss = DannLoss(
        method=method.dann,
        objective=make_objective(material.train.targets, len(config.labels), config.labels_per_sample, recipe, str(plan.runtime.device)),
        target=TargetBatches(target, recipe.batch_size, recipe.augment, plan.flips, material.selected.preprocess, config.seed),
        n_steps=len(steps),
        n_epochs=recipe.epochs,
    )
    return _trained(replace(plan, part_loss=loss), lambda: nn.Sequential(network[0], plain_head(network[1])))


def adapt_by_shot(material: Material, method: AdaptMethod, source: nn.Sequential, target: SampleInputs) -> Trained:
    """Trains the backbone on the unlabelled samples alone, under the source's head.

    Args:
        material: Its validation split is measured on; its training split is not used any more.
        method: Its `shot`.
        source: The model to begin with; changed in place.
        target: Unlabelled samples; their `targets` become pseudo-labels.

    Raises:
        ConfigurationError: Any number of labels a sample; or as for `adapt_by_dann`.
        DataError: A loss is not finite.
    """
    from torch import nn

    if material.config.labels_per_sample != "one":
        raise ConfigurationError(
            got="method adapt with by: shot and labels_per_sample: many.",
            allowed="by: shot where a sample has one label: its loss is of answers that exclude each other.",
            next_step="write by: bn, coral or dann.",
        )
    network = nn.Sequential(source[0], frozen_head(source[1]))
    plan = _plan(material, method, method.shot.recipe, network, target, target)
    renewed = PseudoLabels(network, target, material.config.compute.n_workers).renew
    # Pseudo-labels are of the weights at an epoch's start: a training goes on from there and from nowhere in between.
    plan = replace(plan, part_loss=ShotLoss(method.shot), before_epoch=renewed, seconds_between_checkpoints=math.inf)
    return _trained(plan, lambda: nn.Sequential(network[0], thawed_head(network[1])))


def _plan(
    material: Material, method: AdaptMethod, recipe: AdaptRecipe, network: nn.Sequential, train: SampleInputs, target: SampleInputs
) -> TrainingPlan:
    config = material.config
    _refuse_processes(method, config.compute.processes)
    runtime = place(network, train, config).runtime
    groups = trainable_groups(network[0], recipe.n_upper_blocks)
    settings: JsonValue = getattr(method, method.by).model_dump(mode="json", exclude={"recipe"})
    return TrainingPlan(
        name=f"adapt-{method.by}",
        network=network,
        upper=network,
        groups=groups,
        n_open=lambda _: len(groups),
        recipe=recipe,
        train=train,
        validation=material.validation,
        flips=tolerated_flips(recipe.augment.flips, network, material.validation, config.labels_per_sample),
        preprocess=material.selected.preprocess,
        config=config,
        runtime=runtime,
        checkpoints=material.checkpoints,
        deadline=Deadline(None),
        progress=material.progress,
        keeps="last",
        further_inputs={"settings": settings, "unlabelled": [sample.id for sample in target.samples]},
    )


def _trained(plan: TrainingPlan, as_shipped: Callable[[], nn.Sequential]) -> Trained:
    began = time.monotonic()
    fitted = fit(plan)
    network = as_shipped().eval()
    return Trained(network, _record(plan, fitted), {plan.name: time.monotonic() - began})


def _record(plan: TrainingPlan, fitted: Fit) -> dict[str, JsonValue]:
    curve: list[JsonValue] = [dict(epoch.as_row()) for epoch in fitted.curve]
    cut: JsonValue = None if fitted.cut_at is None else {"epoch": fitted.cut_at[0], "steps_done": fitted.cut_at[1]}
    return {
        "curve": curve,
        "best_epoch": fitted.curve[-1].number,
        "flips": list(plan.flips),
        "precision": {"name": plan.runtime.precision.name, "reason": plan.runtime.precision.reason},
        "micro_batch": fitted.micro_batch,
        "cut_by_budget": cut,
    }


def _refuse_processes(method: AdaptMethod, n_processes: int) -> None:
    if n_processes > 1:
        raise ConfigurationError(
            got=f"method adapt with by: {method.by} and compute.processes: {n_processes}.",
            allowed="one process: the loss is of a whole batch of both domains.",
            next_step="set compute.processes: 1, or write by: bn or coral.",
        )
