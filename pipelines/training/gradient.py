"""From a start to a trained network: what every method that trains by gradient does."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import JsonValue

from pipelines.config import FineTuneMethod, GradualMethod, LoraMethod, LpFtMethod, ScratchMethod
from pipelines.core.errors import ConfigurationError
from pipelines.core.heads import build_head
from pipelines.training.batches import stateless_seed
from pipelines.training.curve import best_epoch
from pipelines.training.finishing import finish
from pipelines.training.label_counts import refuse_rare_labels
from pipelines.training.loop import fit
from pipelines.training.material import Deadline, Material, Trained
from pipelines.training.optimization import trainable_groups
from pipelines.training.placing import place
from pipelines.training.regularisation import seeded_layers
from pipelines.training.sources import sources_for
from pipelines.training.training_plan import Fit, TrainingPlan

if TYPE_CHECKING:
    from torch import nn

_LOGGER = logging.getLogger(__name__)

GradientMethod = FineTuneMethod | LpFtMethod | GradualMethod | ScratchMethod | LoraMethod
Flips = tuple[Literal["horizontal", "vertical"], ...]


def train_from(
    material: Material,
    method: GradientMethod,
    network: nn.Sequential,
    flips: Flips,
    deadline: Deadline | None,
    n_open: Callable[[int], int] | None = None,
    groups: Sequence[Sequence[nn.Parameter]] | None = None,
) -> Trained:
    """Trains a network from where it is.

    Args:
        material: Of the training.
        method: Recipe, and the name of the method.
        network: Backbone and head, trained in place.
        flips: Directions that leave labels true.
        deadline: Of whoever asked; nothing: none.
        n_open: How many blocks are trained in an epoch, counted from 1; nothing: all of `n_upper_blocks`.
        groups: Parameters of the backbone that are trained, the uppermost first; nothing: those of its blocks.
    """
    began = time.monotonic()
    plan = _plan(material, method, network, flips, deadline or Deadline(None), n_open, groups)
    fitted = fit(plan)
    after = finish(plan, fitted)
    seconds = time.monotonic() - began
    return Trained(network, _record(plan, fitted, after), {method.kind: seconds})


def without_random_head(trained: Trained, method_name: str) -> Trained:
    """The same, where training began with a random head, which must not ship for want of time.

    Raises:
        ConfigurationError: Time ran out before one epoch was better than the start.
    """
    if trained.record["cut_by_budget"] is not None and trained.record["best_epoch"] == 0:
        raise ConfigurationError(
            got=f"a time budget that ended before method {method_name} was better than the random head it begins with.",
            allowed="time for one whole epoch at least.",
            next_step="raise budget_minutes, or use lp_ft, which begins with a fitted head.",
        )
    if trained.record["best_epoch"] == 0:
        _LOGGER.warning("%s: no epoch was better on validation than the random start, which is kept", method_name)
    return trained


def with_new_head(material: Material, backbone: nn.Module) -> nn.Sequential:
    """A backbone on the device and a seeded head for the project's labels."""
    import torch
    from torch import nn

    device = next(backbone.parameters()).device
    with torch.inference_mode():
        # Asked, since the architectures' own `num_features` is not always the width of what comes out.
        n_features = backbone.eval()(torch.from_numpy(material.train.batch(np.arange(1))).to(device)).shape[1]
    with seeded_layers(stateless_seed("head", material.config.seed), "cpu"):
        head = build_head(n_features, len(material.config.labels))
    return nn.Sequential(backbone, head.to(device))


def _plan(
    material: Material,
    method: GradientMethod,
    network: nn.Sequential,
    flips: Flips,
    deadline: Deadline,
    n_open: Callable[[int], int] | None,
    chosen: Sequence[Sequence[nn.Parameter]] | None,
) -> TrainingPlan:
    config = material.config
    refuse_rare_labels(material.train.targets, config.labels)
    placed = place(network, material.train, config)
    groups = trainable_groups(network[0], method.n_upper_blocks) if chosen is None else chosen
    sources = sources_for(material, method, network, flips, placed.example, placed.runtime)
    return TrainingPlan(
        name=method.kind,
        network=network,
        upper=sources.upper,
        groups=groups,
        n_open=n_open or (lambda _: len(groups)),
        recipe=method,
        train=sources.train,
        validation=sources.validation,
        flips=flips,
        preprocess=sources.preprocess,
        config=config,
        runtime=placed.runtime,
        checkpoints=material.checkpoints,
        deadline=deadline,
        progress=material.progress,
    )


def _record(plan: TrainingPlan, fitted: Fit, after: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """Nothing in it depends on time or on whether the training was resumed, unless a budget cut it."""
    curve: list[JsonValue] = [dict(epoch.as_row()) for epoch in fitted.curve]
    cut: JsonValue = None if fitted.cut_at is None else {"epoch": fitted.cut_at[0], "steps_done": fitted.cut_at[1]}
    return {
        "method": plan.name,
        "n_train": len(plan.train),
        "curve": curve,
        "best_epoch": best_epoch(fitted.curve),
        "after": after,
        "flips": list(plan.flips),
        "precision": {"name": plan.runtime.precision.name, "reason": plan.runtime.precision.reason},
        "micro_batch": fitted.micro_batch,
        "cached_activations": plan.preprocess is None,
        "cut_by_budget": cut,
    }
