"""Random views of images: crops, flips, light, colour and blur.

Letters for shapes: b batch, c channels, h height, w width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipelines.core.preprocess import ImagePreprocess
from pipelines.training.augment import Change, with_changes
from pipelines.training.flips import Flip

if TYPE_CHECKING:
    import torch

# As in the paper's appendix A, which has them of MoCo v2; hue is not shifted. The blur's is of an image of 224 px.
_LOG_ASPECT = math.log(4 / 3)
_LIGHT = 0.4
_LIGHT_PROBABILITY, _GREY_PROBABILITY, _BLUR_PROBABILITY = 0.8, 0.2, 0.5
_BLUR_SIGMA_PX, _BLUR_SIDE_PX = (0.1, 2.0), 224
_BLUR_RADIUS_SIGMAS = 3


@dataclass(frozen=True)
class Views:
    """How a view is made of an image.

    Attributes:
        preprocess: Of the backbone: a view has the size of its input, and colours are changed where it has them.
        flips: Directions, each with probability 1/2.
        least_area: Of the crop, as a share of the image, in (0, 1].
    """

    preprocess: ImagePreprocess
    flips: tuple[Flip, ...]
    least_area: float

    def of(self, batch: torch.Tensor, seeds: Sequence[int]) -> torch.Tensor:
        """One view of each image, which depends on the image and its seed alone.

        Args:
            batch: [b, c, h, w], normalised by `preprocess`.
            seeds: One for each image, 0 or above.
        """
        drawn = [self._draw(np.random.default_rng(seed), batch.shape[1:]) for seed in seeds]
        return blurred(with_changes(batch, [change for change, _ in drawn], self.preprocess), [sigma for _, sigma in drawn])

    def _draw(self, rng: np.random.Generator, shape: Sequence[int]) -> tuple[Change, float]:
        """What happens to an image, and the blur's standard deviation in pixels."""
        channels, height, width = shape
        flips = tuple(flip for flip in self.flips if rng.random() < 0.5)
        change = Change(flips, crop(rng, height, width, self.least_area), _light(rng, channels))
        low, high = _BLUR_SIGMA_PX
        sigma = rng.uniform(low, high) * min(height, width) / _BLUR_SIDE_PX
        return change, sigma if rng.random() < _BLUR_PROBABILITY else 0.0


def crop(rng: np.random.Generator, height: int, width: int, least_area: float) -> NDArray[np.float64]:
    """The movement that scales a random part of an image to the whole: an area from `least_area` to 1, sides of 3 : 4 to 4 : 3.

    Where a side would be longer than the image it is as long.
    """
    area, aspect = rng.uniform(least_area, 1), math.exp(rng.uniform(-_LOG_ASPECT, _LOG_ASPECT))
    wide, high = min(1.0, math.sqrt(area * aspect)), min(1.0, math.sqrt(area / aspect))
    right, down = rng.uniform(-0.5, 0.5, size=2) * ((1 - wide) * width, (1 - high) * height)
    return np.array([[wide, 0, right], [0, high, down], [0, 0, 1]])


def _light(rng: np.random.Generator, channels: int) -> tuple[tuple[str, float], ...]:
    names = ("brightness", "contrast", "colour") if channels == 3 else ("brightness", "contrast")
    blends = [(name, rng.uniform(1 - _LIGHT, 1 + _LIGHT)) for name in names] if rng.random() < _LIGHT_PROBABILITY else []
    is_grey = rng.random() < _GREY_PROBABILITY
    return (*blends, ("colour", 0.0)) if channels == 3 and is_grey else tuple(blends)


def blurred(batch: torch.Tensor, sigmas_px: Sequence[float]) -> torch.Tensor:
    """Each image after a Gaussian blur of its own; what comes in from outside mirrors the image.

    Args:
        batch: [b, c, h, w].
        sigmas_px: Standard deviations; 0 leaves an image as it is.
    """
    import torch
    from torch.nn import functional

    radius = math.ceil(_BLUR_RADIUS_SIGMAS * max(sigmas_px))
    if radius == 0:
        return batch
    places, sigmas = np.arange(-radius, radius + 1), np.asarray(sigmas_px)[:, None]
    weights = np.where(sigmas > 0, np.exp(-0.5 * (places / np.maximum(sigmas, 1e-12)) ** 2), places == 0)
    kernels = torch.from_numpy((weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)).to(batch.device)
    for dim, sides in ((2, (0, 0, radius, radius)), (3, (radius, radius, 0, 0))):
        length = batch.shape[dim]
        outer = functional.pad(batch, sides, mode="reflect")
        # By sums of products: a convolution may round differently in a batch of another size.
        parts = (outer.narrow(dim, tap, length) * kernels[:, tap, None, None, None] for tap in range(2 * radius + 1))
        batch = sum(parts, start=torch.zeros_like(batch))
    return batch
