"""Augmentation of spectrograms: a sound is made louder or quieter, and bands of time and of frequency are masked.

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
    from pipelines.core.modalities.audio import AudioPreprocess

# Of the frames, and of the bands, at magnitude 1; Park et al. mask up to a third of the bands.
_LARGEST_SHARE = 1 / 3


def change_spectrograms(batch: torch.Tensor, section: AugmentSection, spec: AudioPreprocess, seeds: Sequence[int]) -> torch.Tensor:
    """Changes each sound at random in ways that leave its label true.

    Args:
        batch: float32 [b, p, 1, t, m]; patches of NaN are none.
        section: `gain_db`; and under the policy `spec_augment` its magnitude, and the number of bands of either kind in each patch.
        spec: That made the spectrograms: of a gain it says what comes of them.
        seeds: One for each sound: its change depends on nothing else.

    Returns:
        The same shape; the batch itself where nothing is to be changed.
    """
    masks = section.policy == "spec_augment"
    if not masks and section.gain_db == 0:
        return batch
    changed = batch.clone()
    for sound, seed in zip(changed, seeds, strict=True):
        rng = np.random.default_rng(seed)
        if section.gain_db > 0:
            sound.copy_(louder(sound, float(rng.uniform(-section.gain_db, section.gain_db)), spec))
        for patch in sound[:, 0] if masks else ():
            _mask(patch, section, rng)
    return changed


def louder(patches: torch.Tensor, decibels: float, spec: AudioPreprocess) -> torch.Tensor:
    """The spectrograms of the sound multiplied by `10 ** (decibels / 20)`, up to rounding: what the offset hides of it stays hidden."""
    offset = spec.log_mel.offset
    strength = (patches * spec.std + spec.mean).exp() - offset
    factor = 10 ** (decibels / 20 * spec.log_mel.power)
    return ((strength.clamp_min(0) * factor + offset).log() - spec.mean) / spec.std


def _mask(patch: torch.Tensor, section: AugmentSection, rng: np.random.Generator) -> None:
    # The patch as it came: what is masked first does not move what is masked next.
    mean = patch.mean()
    for _ in range(section.n_operations):
        for axis, size in enumerate(patch.shape):
            width = int(rng.integers(0, int(size * section.magnitude * _LARGEST_SHARE) + 1))
            start = int(rng.integers(0, size - width + 1))
            patch.narrow(axis, start, width).fill_(mean.item())
