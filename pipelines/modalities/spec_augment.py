"""Augmentation of spectrograms: bands of time and of frequency are masked.

SpecAugment (Park et al. 2019, https://arxiv.org/abs/1904.08779). We differ in masking each patch for itself, with its mean, and in warping
nothing. Letters for shapes: b batch, p patches, t frames, m mel bands.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

    from pipelines.config import AugmentSection

# Of the frames, and of the bands, at magnitude 1; Park et al. mask up to a third of the bands.
_LARGEST_SHARE = 1 / 3


def mask_bands(batch: torch.Tensor, section: AugmentSection, seeds: Sequence[int]) -> torch.Tensor:
    """Masks `n_operations` times a band of frames and a band of frequencies in each patch.

    Args:
        batch: float32 [b, p, 1, t, m]; patches of NaN are none.
        section: Policy, magnitude and number of operations.
        seeds: One for each sound: its change depends on nothing else.

    Returns:
        The same shape; the batch itself under another policy.
    """
    if section.policy != "spec_augment":
        return batch
    masked = batch.clone()
    for sound, seed in zip(masked, seeds, strict=True):
        rng = np.random.default_rng(seed)
        for patch in sound[:, 0]:
            _mask(patch, section, rng)
    return masked


def _mask(patch: torch.Tensor, section: AugmentSection, rng: np.random.Generator) -> None:
    # The patch as it came: what is masked first does not move what is masked next.
    mean = patch.mean()
    for _ in range(section.n_operations):
        for axis, size in enumerate(patch.shape):
            width = int(rng.integers(0, int(size * section.magnitude * _LARGEST_SHARE) + 1))
            start = int(rng.integers(0, size - width + 1))
            patch.narrow(axis, start, width).fill_(mean.item())
