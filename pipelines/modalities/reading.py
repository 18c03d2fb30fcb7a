"""How training holds inputs in memory and makes batches of them: the inference core's own adapters, cut where most is saved.

Letters for shapes: b batch, c channels, h height, w width, l token ids, p patches, t frames, m mel bands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipelines.core.modalities.adapters import Preprocess, modality_of
from pipelines.core.modalities.modality import Modality
from pipelines.core.modalities.text import TextPreprocess, padded
from pipelines.core.preprocess import ImagePreprocess, decode_image, image_to_pixels, normalise


class Reader(Protocol):
    """From a sample's bytes to what is kept of it between epochs, and from that to a batch."""

    @property
    def has_one_length(self) -> bool:
        """Whether all inputs have one shape."""

    def read(self, data: bytes) -> NDArray[Any]:
        """What is kept of a sample.

        Raises:
            DataError: The bytes are no input of this kind.
        """

    def assemble(self, kept: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """The batch of these, in a new array."""


@dataclass(frozen=True)
class ImageReader:
    """Keeps pixels as bytes, a quarter of what the normalised ones take."""

    spec: ImagePreprocess

    @property
    def has_one_length(self) -> bool:
        """Images are resized."""
        return True

    def read(self, data: bytes) -> NDArray[np.uint8]:
        """uint8 [h, w, c]."""
        return image_to_pixels(decode_image(data, self.spec), self.spec)

    def assemble(self, kept: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """float32 [b, c, h, w], in memory [b, h, w, c]: torch's channels_last."""
        array = np.empty((len(kept), self.spec.height_px, self.spec.width_px, self.spec.n_channels), np.float32)
        for place, pixels in enumerate(kept):
            normalise(pixels, self.spec, out=array[place])
        return array.transpose(0, 3, 1, 2)


@dataclass(frozen=True)
class TextReader:
    """Keeps token ids."""

    modality: Modality

    @property
    def has_one_length(self) -> bool:
        """Texts have a few."""
        return False

    def read(self, data: bytes) -> NDArray[np.int64]:
        """int64 [l], padded to the text's own bucket."""
        return self.modality.to_array(self.modality.decode(data))

    def assemble(self, kept: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
        """int64 [b, l], padded to the longest among them."""
        return padded(kept)


@dataclass(frozen=True)
class SoundReader:
    """Keeps the patches of a sound."""

    modality: Modality

    @property
    def has_one_length(self) -> bool:
        """Sounds have a few."""
        return False

    def read(self, data: bytes) -> NDArray[np.float32]:
        """float32 [p, 1, t, m], followed by patches of NaN up to the sound's own bucket."""
        array = self.modality.to_array(self.modality.decode(data))
        return np.asarray(self.modality.batch([array])[0], dtype=np.float32)

    def assemble(self, kept: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """float32 [b, p, 1, t, m]."""
        return self.modality.batch(kept)


def reader_of(spec: Preprocess, folder: Path | None) -> Reader:
    """The reader of a preprocess spec.

    Args:
        spec: Of a selected backbone.
        folder: Of its files, see `modality_of`.
    """
    if isinstance(spec, ImagePreprocess):
        return ImageReader(spec)
    modality = modality_of(spec, folder)
    return TextReader(modality) if isinstance(spec, TextPreprocess) else SoundReader(modality)
