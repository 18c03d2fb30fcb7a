"""Mixing pairs of images and their targets.

mixup (Zhang et al. 2017, https://arxiv.org/abs/1710.09412) blends two images; cutmix (Yun et al. 2019, https://arxiv.org/abs/1905.04899)
pastes a rectangle of one into the other. As in torchvision and timm one share is drawn for a batch; each sample's partner is the one
before it, and the order of a shuffled batch is random already.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

    from pipelines.config import AugmentSection


def mix_batch(batch: torch.Tensor, targets: torch.Tensor, section: AugmentSection, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Mixes each sample with the one before it, the first with the last.

    Args:
        batch: [b, c, h, w].
        targets: Float [b, k]; a row keeps its sum where all rows have the same.
        section: mixup_alpha and cutmix_alpha of Beta(alpha, alpha), which draws the share a sample keeps; with both above 0 either is taken
            with probability 1/2; with both 0 nothing is changed.
        seed: Same seed, same result; no global generator is touched.

    Returns:
        New tensors of the same shapes.
    """
    alphas = {"mixup": section.mixup_alpha, "cutmix": section.cutmix_alpha}
    ways = [way for way, alpha in alphas.items() if alpha > 0]
    if not ways:
        return batch, targets
    rng = np.random.default_rng(seed)
    way = ways[int(rng.integers(len(ways)))]
    kept_frac = float(rng.beta(alphas[way], alphas[way]))
    if way == "mixup":
        mixed = batch * kept_frac + batch.roll(1, 0) * (1 - kept_frac)
    else:
        mixed, kept_frac = _paste(batch, kept_frac, rng)
    return mixed, targets * kept_frac + targets.roll(1, 0) * (1 - kept_frac)


def _paste(batch: torch.Tensor, kept_frac: float, rng: np.random.Generator) -> tuple[torch.Tensor, float]:
    height, width = batch.shape[-2:]
    top, bottom, left, right = cut_box(height, width, kept_frac, rng)
    mixed = batch.clone()
    mixed[:, :, top:bottom, left:right] = batch.roll(1, 0)[:, :, top:bottom, left:right]
    return mixed, 1 - (bottom - top) * (right - left) / (height * width)


def cut_box(height: int, width: int, kept_frac: float, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """A rectangle of the image's proportions around a random pixel, cut at the border: top, bottom, left, right in pixels.

    Args:
        height: In pixels.
        width: In pixels.
        kept_frac: The rectangle covers the rest of the image, less what the border cuts off.
        rng: Draws the centre.
    """
    half = math.sqrt(1 - kept_frac) / 2
    row, column = int(rng.integers(height)), int(rng.integers(width))
    half_height, half_width = int(half * height), int(half * width)
    return max(row - half_height, 0), min(row + half_height, height), max(column - half_width, 0), min(column + half_width, width)
