"""A sound as a picture: time from left to right, low tones at the bottom, loud in bright.

Letters for shapes: t frames, m mel bands, h height, w width.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipelines.core.errors import ConfigurationError
from pipelines.core.modalities.audio import AudioModality
from pipelines.core.modalities.modality import Modality

_MOST_COLUMNS = 1_024


def spectrogram_picture(content: bytes, modality: Modality) -> NDArray[np.uint8]:
    """The spectrogram of a sound file, as a grey picture that goes from its quietest place to its loudest.

    Args:
        content: The file.
        modality: Of the model that hears it.

    Returns:
        uint8 [h, w]: a row for each band, a column for each frame; of long sounds frames share a column.

    Raises:
        ConfigurationError: The modality is not of sounds.
        DataError: The bytes are no sound.
    """
    if not isinstance(modality, AudioModality):
        raise ConfigurationError(
            got=f"a spectrogram of {modality.kind} inputs.", allowed="of sounds.", next_step="report this as a bug of Regraft."
        )
    return as_picture(modality.spectrogram(modality.decode(content)))


def as_picture(frames: NDArray[np.float32]) -> NDArray[np.uint8]:
    """float32 [t, m] -> uint8 [h, w], from the smallest value to the greatest."""
    columns = np.stack([some.mean(axis=0) for some in np.array_split(frames, min(len(frames), _MOST_COLUMNS))])
    low, high = float(columns.min()), float(columns.max())
    scaled = (columns - low) / (high - low) if high > low else np.zeros_like(columns)
    return np.ascontiguousarray((scaled * 255).round().astype(np.uint8).T[::-1])
