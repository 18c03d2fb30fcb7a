"""What goes through the network in every epoch: images, or activations at the boundary below which nothing is trained."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipelines.config import Recipe
from pipelines.core.modalities.adapters import Preprocess
from pipelines.core.preprocess import ImagePreprocess
from pipelines.training.boundary import BoundaryActivations, SplitBackbone, cached_boundary, split_backbone
from pipelines.training.flips import Flip
from pipelines.training.inputs import BatchSource, SampleInputs
from pipelines.training.material import Material
from pipelines.training.runtime import Runtime

if TYPE_CHECKING:
    import torch
    from torch import nn

_LOGGER = logging.getLogger(__name__)
# A cut is verified on a batch of several samples and on one alone.
_LEAST_EXAMPLES = 2


@dataclass(frozen=True, eq=False)
class Sources:
    """Training and validation samples with what they go through.

    Attributes:
        upper: The whole network, or what lies above the boundary.
        preprocess: Of the samples; nothing where there are activations.
    """

    train: BatchSource
    validation: BatchSource
    upper: nn.Sequential
    preprocess: Preprocess | None


def sources_for(
    material: Material, recipe: Recipe, network: nn.Sequential, flips: tuple[Flip, ...], example: torch.Tensor, runtime: Runtime
) -> Sources:
    """Images; or activations that are computed once, where that comes to the same and blocks below the boundary are frozen.

    Norms of frozen blocks keep their statistics in either way, and their dropout and drop path must be off, so the results differ by
    rounding alone. Why it is images is said in the log.

    Args:
        material: Of the training.
        recipe: Says which blocks are trained and how images are changed.
        network: Backbone and head.
        flips: Directions that images are flipped in.
        example: [b, c, h, w], two images at least.
        runtime: All processes take the same.
    """
    images = Sources(material.train, material.validation, network, material.selected.preprocess)
    if not recipe.n_upper_blocks:
        return images
    if not isinstance(images.preprocess, ImagePreprocess):
        _LOGGER.info("frozen blocks are computed in every epoch: activations of texts and sounds differ in length and are not kept")
        return images
    if flips or not recipe.augment.changes_nothing_but_flips:
        _LOGGER.info("frozen blocks are computed in every epoch: images change from one to the next (augment)")
        return images
    cached = None if len(example) < _LEAST_EXAMPLES else _cached(material, recipe.n_upper_blocks, network, example, runtime)
    if runtime.any(cached is None):
        _LOGGER.warning("frozen blocks are computed in every epoch: their activations cannot be kept for this backbone or on this disk")
        return images
    return cached or images


def _cached(material: Material, n_upper_blocks: int, network: nn.Sequential, example: torch.Tensor, runtime: Runtime) -> Sources | None:
    from torch import nn

    split = split_backbone(network[0], n_upper_blocks, example.to(runtime.device))
    # Together, before the first wait for each other: the halves are verified up to rounding, which may differ between machines.
    if runtime.any(split is None or split.lower_has_randomness) or split is None:
        return None
    with runtime.main_first():
        train = _activations(split, material.train, material)
        validation = None if train is None else _activations(split, material.validation, material)
    if train is None or validation is None:
        return None
    return Sources(train, validation, nn.Sequential(split.upper, network[1]), None)


def _activations(split: SplitBackbone, inputs: SampleInputs, material: Material) -> BoundaryActivations | None:
    return cached_boundary(split, inputs, material.selected, material.config, material.kept_activations, material.progress)
