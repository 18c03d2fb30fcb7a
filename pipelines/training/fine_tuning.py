"""Methods that train by gradient. They differ in where they start and in which blocks they train when; the loop is one."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from pydantic import JsonValue

from pipelines.config import FineTuneMethod, GradualMethod, LpFtMethod, ProbeMethod, ScratchMethod
from pipelines.core.errors import ConfigurationError
from pipelines.training.batches import stateless_seed
from pipelines.training.curve import Epoch
from pipelines.training.embedding import embed
from pipelines.training.flips import Flip, tolerated_flips
from pipelines.training.gradient import train_from, with_new_head, without_random_head
from pipelines.training.linear import train_probe
from pipelines.training.material import Deadline, Material, Trained
from pipelines.training.optimization import trainable_groups
from pipelines.training.regularisation import build_with_drop_path, seeded_layers
from pipelines.training.validation import measure

if TYPE_CHECKING:
    from torch import nn

_LOGGER = logging.getLogger(__name__)


def train_lp_ft(material: Material, method: LpFtMethod, deadline: Deadline | None = None) -> Trained:
    """Method `lp_ft`: the probe's solution as the head's start, then fine-tuning (Kumar et al. 2022, https://arxiv.org/abs/2202.10054).

    We differ from the paper in training only the last blocks unless told otherwise, each more slowly than the one above it (ULMFiT's
    discriminative rates, https://arxiv.org/abs/1801.06146), in keeping batch-norm statistics as they were pretrained (with few samples
    they are noise), and in counting the probe as epoch 0: a fine-tuning that is never better on validation leaves the probe.

    Args:
        material: Of the training.
        method: With `n_upper_blocks: 0` nothing is trained after the probe.
        deadline: Of whoever asked, besides `method.budget_minutes`; too short for one epoch leaves the probe, and the record says where
            it was cut.

    Raises:
        DataError: A class has too few samples for the probe, or a loss is not finite.
        ConfigurationError: More blocks are asked for than there are, or one sample does not fit into memory.
    """
    probe = train_probe(material, method.probe)
    if method.n_upper_blocks == 0:
        return _untrained(material, probe)
    flips = _flips(material, method.augment.flips, probe.network)
    network = probe.network if method.drop_path == 0 else _on(material.fresh_backbone(method.drop_path), probe.network)
    trained = train_from(material, method, network, flips, deadline)
    return Trained(trained.network, probe.record | trained.record, {**probe.costs_seconds, **trained.costs_seconds})


def train_fine_tune(material: Material, method: FineTuneMethod, deadline: Deadline | None = None) -> Trained:
    """Method `fine_tune`: a new head on the pretrained backbone, and all blocks or the last ones trained (Yosinski et al. 2014).

    https://arxiv.org/abs/1411.1792. We differ in learning rates that fall from block to block on the way down.

    Args:
        material: Of the training.
        method: Without `n_upper_blocks` all blocks are trained; with 0 the head alone.
        deadline: Of whoever asked, besides `method.budget_minutes`.

    Raises:
        ConfigurationError: Time ran out before one epoch was done: all there is then is a random head. Or as for `lp_ft`.
        DataError: A loss is not finite.
    """
    network = with_new_head(material, material.fresh_backbone(method.drop_path))
    trained = train_from(material, method, network, _flips(material, method.augment.flips), deadline)
    return without_random_head(trained, method.kind)


def train_gradual(material: Material, method: GradualMethod, deadline: Deadline | None = None) -> Trained:
    """Method `gradual`: the head alone first, then one block more every `epochs_per_block` epochs, lower ones more slowly.

    ULMFiT (Howard and Ruder 2018, https://arxiv.org/abs/1801.06146). We differ in a warm-up and a cosine over the whole training in place
    of its slanted triangle, and in early stopping, whose patience is counted only from where every block is trained.

    Args:
        material: Of the training.
        method: `n_upper_blocks` are opened at most; with too few epochs the lowest of them stay frozen, which is said in the log.
        deadline: Of whoever asked, besides `method.budget_minutes`.

    Raises:
        ConfigurationError: As for `fine_tune`.
        DataError: A loss is not finite.
    """
    network = with_new_head(material, material.fresh_backbone(method.drop_path))
    n_groups = len(trainable_groups(network[0], method.n_upper_blocks))

    def n_open(epoch: int) -> int:
        return min(n_groups, blocks_open(epoch, method.epochs_per_block))

    if n_open(method.epochs) < n_groups:
        _LOGGER.warning("gradual: %d epochs open %d of %d blocks; the lowest stay frozen", method.epochs, n_open(method.epochs), n_groups)
    trained = train_from(material, method, network, _flips(material, method.augment.flips), deadline, n_open)
    without_random_head(trained, method.kind)
    return replace(trained, record=trained.record | {"blocks": n_groups, "blocks_opened": n_open(method.epochs)})


def train_scratch(material: Material, method: ScratchMethod, deadline: Deadline | None = None) -> Trained:
    """Method `scratch`: the same architecture with random weights, all of it trained, batch norm live.

    What pretrained weights are worth is the difference to this (He et al. 2018, https://arxiv.org/abs/1811.08883, who show that it needs
    more epochs). We differ in timm's own initialisation for each architecture.

    Args:
        material: Of the training; its pretrained weights are not read.
        method: Flips are named in it: to find them out takes a probe.
        deadline: Of whoever asked, besides `method.budget_minutes`.

    Raises:
        ConfigurationError: `flips: auto`; or as for `fine_tune`.
        DataError: A loss is not finite.
    """
    if method.augment.flips == "auto":
        raise ConfigurationError(
            got="method.augment.flips: auto for scratch, which has no probe to ask.",
            allowed="none, horizontal, vertical or both.",
            next_step="name the directions in the conf file, those that another method's record found for example.",
        )
    with seeded_layers(stateless_seed("scratch", material.config.seed), "cpu"):
        backbone = build_with_drop_path(material.selected.spec, method.drop_path)
    network = with_new_head(material, backbone.to(material.config.device))
    trained = train_from(material, method, network, _flips(material, method.augment.flips), deadline)
    return without_random_head(trained, method.kind)


def blocks_open(epoch: int, epochs_per_block: int) -> int:
    """Blocks that are trained in an epoch, counted from 1, where one more opens every `epochs_per_block` epochs."""
    return (epoch - 1) // epochs_per_block


def _flips(
    material: Material, setting: Literal["auto", "none", "horizontal", "vertical", "both"], probe: nn.Sequential | None = None
) -> tuple[Flip, ...]:
    """Directions that leave labels true; `auto` asks a probe, which is fitted where there is none."""
    from torch import nn

    if probe is None and setting == "auto":
        probe = train_probe(material, ProbeMethod()).network
    return tolerated_flips(setting, probe or nn.Sequential(), material.validation, material.config.labels_per_sample)


def _on(backbone: nn.Module, other: nn.Sequential) -> nn.Sequential:
    from torch import nn

    return nn.Sequential(backbone, other[1])


def _untrained(material: Material, probe: Trained) -> Trained:
    """The probe as a training of no epochs."""
    logits = probe.validation_logits
    if logits is None:
        logits = embed(probe.network, material.validation, n_workers=material.config.compute.n_workers)
    result = measure(logits, material.validation.targets, material.config.labels_per_sample)
    rows: list[JsonValue] = [dict(Epoch(0, None, result.log_loss, result.accuracy).as_row())]
    record: dict[str, JsonValue] = {"method": "lp_ft", "curve": rows, "best_epoch": 0, "cut_by_budget": None}
    return replace(probe, record=probe.record | record, validation_logits=logits)
