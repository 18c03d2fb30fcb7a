"""Random changes of a batch of drawings, on tensors. b: batch, s: source side, p: input side."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pipelines.pretraining.recipe import AugmentRecipe

if TYPE_CHECKING:
    from torch import Generator, Tensor


def ink_boxes(images: Tensor) -> Tensor:
    """Where the ink is.

    Args:
        images: [n, 1, s, s] in [0, 1].

    Returns:
        float32 [n, 3]: centre x, centre y and half the longer side of the bounding box, in `affine_grid`'s coordinates (-1 to 1).
    """
    import torch

    sides = []
    for dimension in (2, 3):  # maximum over the rows gives the columns with ink, and the other way round
        inked = images.amax(dim=(1, dimension)) > 0.5
        first = inked.int().argmax(dim=1)
        last = inked.shape[1] - inked.flip(1).int().argmax(dim=1)
        sides.append((first * 2 / inked.shape[1] - 1, last * 2 / inked.shape[1] - 1))
    (left, right), (top, bottom) = sides
    half = torch.maximum(right - left, bottom - top) / 2
    return torch.stack([(left + right) / 2, (top + bottom) / 2, half], dim=1)


def augment(images: Tensor, boxes: Tensor, quarter_turns: Tensor, size_px: int, recipe: AugmentRecipe, generator: Generator) -> Tensor:
    """One random view of each drawing.

    Args:
        images: float32 [b, 1, s, s] in [0, 1], ink 1.
        boxes: [b, 3] from `ink_boxes`.
        quarter_turns: int64 [b], 0 to 3.
        size_px: p.
        recipe: The ranges.
        generator: The only source of chance.

    Returns:
        float32 [b, 1, p, p] in about [0, 1], not normalised.
    """
    import torch
    from torch.nn import functional

    theta = _random_affine(boxes, quarter_turns, recipe, generator)
    grid = functional.affine_grid(theta, [len(images), 1, size_px, size_px], align_corners=False)
    views = functional.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    parts = [_coarsen(_thicken(part, recipe, generator), recipe, generator) for part in views.chunk(recipe.n_groups)]
    return _vary_light(torch.cat(parts), recipe, generator)


def _uniform(n: int, low: float, high: float, generator: Generator) -> Tensor:
    import torch

    return torch.rand(n, generator=generator) * (high - low) + low


def _random_affine(boxes: Tensor, quarter_turns: Tensor, recipe: AugmentRecipe, generator: Generator) -> Tensor:
    """[b, 2, 3]: output coordinates to source coordinates, around the ink's centre."""
    import torch

    n = len(boxes)
    angle = torch.deg2rad(_uniform(n, -recipe.rotation_deg, recipe.rotation_deg, generator)) + quarter_turns * (math.pi / 2)
    stretch = torch.exp(_uniform(n, -recipe.log_aspect / 2, recipe.log_aspect / 2, generator))
    shear = _uniform(n, -recipe.shear, recipe.shear, generator)
    scale = boxes[:, 2] / _uniform(n, *recipe.fill, generator)
    cosine, sine = torch.cos(angle) * scale, torch.sin(angle) * scale
    first = torch.stack([cosine * stretch, (cosine * shear - sine) / stretch], dim=1)
    second = torch.stack([sine * stretch, (sine * shear + cosine) / stretch], dim=1)
    linear = torch.stack([first, second], dim=1)
    shift = torch.stack([_uniform(n, -recipe.shift, recipe.shift, generator) for _ in range(2)], dim=1)
    offset = boxes[:, :2] + (linear @ shift[:, :, None])[:, :, 0]
    return torch.cat([linear, offset[:, :, None]], dim=2)


def _thicken(images: Tensor, recipe: AugmentRecipe, generator: Generator) -> Tensor:
    import torch
    from torch.nn import functional

    width = recipe.thicken_px[int(torch.randint(len(recipe.thicken_px), (1,), generator=generator))]
    return images if width == 1 else functional.max_pool2d(images, width, stride=1, padding=width // 2)


def _coarsen(images: Tensor, recipe: AugmentRecipe, generator: Generator) -> Tensor:
    """Down and up again, with PIL's kernels: what an 8 x 8 input looks like after the resize of the preprocessing."""
    import torch
    from torch.nn import functional

    low, high = recipe.coarse_px
    side = int(torch.randint(low, high + 1, (1,), generator=generator))
    if float(torch.rand(1, generator=generator)) >= recipe.coarse_share:
        return images
    small = functional.interpolate(images, size=(side, side), mode="area")
    return functional.interpolate(small, size=images.shape[-2:], mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)


def _vary_light(images: Tensor, recipe: AugmentRecipe, generator: Generator) -> Tensor:
    import torch

    n = len(images)
    gamma = _uniform(n, *recipe.gamma, generator)[:, None, None, None]
    brightness = _uniform(n, *recipe.brightness, generator)[:, None, None, None]
    noise = _uniform(n, 0.0, recipe.noise, generator)[:, None, None, None] * torch.randn(images.shape, generator=generator)
    return brightness * images.clamp(0, 1) ** gamma + noise
