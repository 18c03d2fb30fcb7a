"""Augmentation of input batches: the tensors that the inference core made, never the bytes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

MAX_ROTATION_DEGREES = 12.0
MAX_SHIFT_FRAC = 0.08
MAX_SCALE_CHANGE = 0.1


def shift_scale_rotate(batch: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Moves, scales and rotates each image a little, at random; no flips, which would turn a 2 or a b into something else.

    Args:
        batch: [b, c, h, w].
        generator: Of the random numbers, on the CPU.

    Returns:
        A new tensor of the same shape; what comes in from outside repeats the border.
    """
    import torch
    from torch.nn import functional

    angle, scale, shift_x, shift_y = (torch.rand(4, len(batch), generator=generator) * 2 - 1).to(batch.device)
    radians = angle * math.radians(MAX_ROTATION_DEGREES)
    zoom = 1 + scale * MAX_SCALE_CHANGE
    cosine, sine = torch.cos(radians) * zoom, torch.sin(radians) * zoom
    # affine_grid counts from -1 to 1: a shift of 1 is half of the image.
    rows = [cosine, -sine, shift_x * 2 * MAX_SHIFT_FRAC, sine, cosine, shift_y * 2 * MAX_SHIFT_FRAC]
    transform = torch.stack(rows, dim=1).reshape(-1, 2, 3).to(batch.dtype)
    grid = functional.affine_grid(transform, list(batch.shape), align_corners=False)
    return functional.grid_sample(batch, grid, padding_mode="border", align_corners=False)
