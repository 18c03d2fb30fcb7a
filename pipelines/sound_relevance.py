"""What in a sound spoke for a label: each stretch of it is silenced in turn (erasure, Li et al. 2016, https://arxiv.org/abs/1612.08220).

Letters for shapes: n samples of sound, w stretches.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pipelines.core.predict import Predictor
from pipelines.core.sound_files import read_sound
from pipelines.sound_alterations import as_wav

N_STRETCHES = 12
_SMALLEST = 1e-6


def stretch_relevance(predictor: Predictor, content: bytes, label: int) -> NDArray[np.float32]:
    """How far the label's log odds fall when a stretch is silenced.

    Args:
        predictor: Of a model for sounds.
        content: A sound file.
        label: Its place among the model's labels.

    Returns:
        float32 [1, w] in [0, 1], the greatest fall is 1; zeros where none lowers it.

    Raises:
        DataError: The file does not decode.
    """
    sound = read_sound(content)
    edges = np.linspace(0, len(sound.samples), N_STRETCHES + 1).round().astype(int)
    found = [_chance(predictor, sound.samples, sound.file_rate_hz, label)]
    # One at a time: thirteen copies of a long sound would take more memory than its training.
    for start, end in pairwise(edges):
        silenced = sound.samples.copy()
        silenced[start:end] = 0
        found.append(_chance(predictor, silenced, sound.file_rate_hz, label))
    chances = np.array(found).clip(_SMALLEST, 1 - _SMALLEST)
    log_odds = np.log(chances) - np.log1p(-chances)
    falls = np.maximum(log_odds[0] - log_odds[1:], 0)
    return np.asarray(falls / max(float(falls.max()), _SMALLEST), dtype=np.float32)[None]


def _chance(predictor: Predictor, samples: NDArray[np.float32], rate_hz: int, label: int) -> float:
    return float(predictor.predict([as_wav(samples, rate_hz)]).probabilities[0, label])
