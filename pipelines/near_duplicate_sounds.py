"""Sounds as thumbnails: what `pipelines.near_duplicates` compares of them, in place of pictures.

Two sounds are alike where their spectrograms of 32 bands x 32 stretches of time are: louder or quieter, saved with losses, or resampled
they still are; cut or shifted by more than a stretch they are not. What is compared is the square root of magnitudes: their logarithm
would ask whether the quietest places are alike, which saving with losses fills or empties.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pipelines.core.log_mel import LogMelSpec, log_mel
from pipelines.core.modalities.audio import AudioModality, AudioPreprocess

SIDE = 32
_SPEC = AudioPreprocess(log_mel=LogMelSpec(n_mels=SIDE))
_HEARD = AudioModality(_SPEC)


def sound_thumbnail(content: bytes) -> NDArray[np.uint8]:
    """What is compared of a sound file: uint8 [32, 32], a row for each stretch of time and a column for each band; 0 where it is silent.

    Raises:
        DataError: It does not decode as a sound.
    """
    samples = _HEARD.decode(content).samples
    missing = _SPEC.log_mel.window_samples - len(samples)
    frames = log_mel(np.pad(samples, (0, max(0, missing))), _SPEC.sample_rate_hz, _SPEC.log_mel)
    edges = np.linspace(0, len(frames), SIDE + 1)
    stretches = [frames[int(start) : max(int(start) + 1, int(np.ceil(end)))] for start, end in pairwise(edges)]
    loudness = np.stack([np.sqrt(np.maximum(np.exp(stretch) - _SPEC.log_mel.offset, 0)).mean(axis=0) for stretch in stretches])
    low, high = float(loudness.min()), float(loudness.max())
    return ((loudness - low) / (high - low) * 255).round().astype(np.uint8) if high > low else np.zeros((SIDE, SIDE), np.uint8)
