"""SimSiam's loss: of a step of training, and of the images that are held out, with the measure of collapse.

Letters for shapes: n images, b batch, c channels, h height, w width, o outputs.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from pipelines.core.errors import ConfigurationError
from pipelines.siamese.views import Views
from pipelines.training.batches import stateless_seed
from pipelines.training.inputs import SampleInputs
from pipelines.training.loading import loaded_batches
from pipelines.training.step import StepPart

if TYPE_CHECKING:
    import torch
    from torch import nn

    from pipelines.siamese.heads import SiameseHeads

_BATCH_SIZE = 32


def negative_cosine(predictions: torch.Tensor, projections: torch.Tensor) -> torch.Tensor:
    """Minus the cosine between what one view predicts and the other view's projection, which is a constant: it gets no gradient.

    Args:
        predictions: [b, o].
        projections: [b, o].

    Returns:
        [b], in [-1, 1].
    """
    from torch.nn import functional

    return -functional.cosine_similarity(predictions.float(), projections.detach().float(), dim=1)


def _symmetrised(outputs: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
    (first_predicted, first_projected), (second_predicted, second_projected) = outputs
    return (negative_cosine(first_predicted, second_projected) + negative_cosine(second_predicted, first_projected)) / 2


@dataclass(frozen=True, eq=False)
class SiameseLoss:
    """Mean symmetrised loss of two views of each image of a part of a step; the views are other ones in every round.

    Chen and He 2021, https://arxiv.org/abs/2011.10566, equations 1 to 4. The views go through the network one after the other, so batch
    norms see a part's images once in each.

    Attributes:
        views: How they are made.
        seed: Of the views.
    """

    views: Views
    seed: int

    def __call__(self, view: nn.Sequential, inputs: torch.Tensor, targets: torch.Tensor, part: StepPart) -> torch.Tensor:
        """As `pipelines.training.step.PartLoss`; `targets` name the images."""
        if len(inputs) == 1 and part.number == 0:  # the first part is the largest
            raise _one_at_a_time()
        names = targets.tolist()
        outputs = [
            _outputs(view, self.views.of(inputs, [stateless_seed("view", self.seed, part.epoch, name, number) for name in names]))
            for number in range(2)
        ]
        return _symmetrised(outputs).mean()


def _outputs(network: nn.Sequential, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return cast("SiameseHeads", network[1]).both(network[0](images))


def _one_at_a_time() -> ConfigurationError:
    return ConfigurationError(
        got="one image that goes through the network at once, of which the heads' batch norms have no statistics.",
        allowed="at least 2, better some dozens.",
        next_step="raise compute.micro_batch_size, or --batch-size, or give the training more memory.",
    )


@dataclass(frozen=True)
class HeldOutSimilarity:
    """How alike two views of the same held-out image look to the network, and how unlike the images.

    Attributes:
        loss: Mean symmetrised loss, in [-1, 1]; -1 is alike.
        spread: `output_spread` of the projections, 0 where all images look the same: a loss of -1 is then worth nothing.
        n_images: That were measured on.
    """

    loss: float
    spread: float
    n_images: int


def held_out_similarity(network: nn.Sequential, images: SampleInputs, views: Views, seed: int, n_workers: int | None) -> HeldOutSimilarity:
    """Measures on the same views each time; the network is left in evaluation mode.

    The heads' batch norms take the statistics of the held-out images, as they take a batch's while training: running ones of heads that
    are new lag behind for dozens of steps, and show a collapse where there is none.

    Args:
        network: Backbone and `SiameseHeads`.
        images: Held out, at least 2.
        views: How they are made.
        seed: Of the views.
        n_workers: Threads that decode.
    """
    import torch

    network.eval()
    heads = cast("SiameseHeads", copy.deepcopy(network[1])).train()
    with torch.inference_mode():
        features = _features_of_views(network[0], images, views, seed, n_workers)
        outputs = [heads.both(part) for part in features]
        losses = _symmetrised(outputs)
    return HeldOutSimilarity(float(losses.double().mean()), output_spread(outputs[0][1].double().cpu().numpy()), len(losses))


def _features_of_views(backbone: nn.Module, images: SampleInputs, views: Views, seed: int, n_workers: int | None) -> list[torch.Tensor]:
    """Of two views of each image, [n, d] each."""
    import torch

    device = next(backbone.parameters()).device
    places = [np.arange(start, min(start + _BATCH_SIZE, len(images))) for start in range(0, len(images), _BATCH_SIZE)]
    features: tuple[list[torch.Tensor], list[torch.Tensor]] = ([], [])
    with closing(loaded_batches(images, places, n_workers=n_workers, device=str(device))) as loaded:
        for chosen, batch in zip(places, loaded, strict=True):
            for number, of_view in enumerate(features):
                seeds = [stateless_seed("held out view", seed, int(index), number) for index in chosen]
                of_view.append(backbone(views.of(batch.to(device), seeds)).float())
    return [torch.cat(part) for part in features]


def output_spread(projections: NDArray[np.float64]) -> float:
    """Mean standard deviation of the outputs' channels, each output scaled to length 1, in units of 1 / sqrt(o).

    That is what the paper watches: about 1 where outputs point anywhere, 0 where they have collapsed into one.

    Args:
        projections: [n, o].
    """
    lengths = np.maximum(np.linalg.norm(projections, axis=1, keepdims=True), 1e-12)
    return float((projections / lengths).std(axis=0).mean() * math.sqrt(projections.shape[1]))
