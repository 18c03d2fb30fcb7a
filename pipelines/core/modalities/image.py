"""The adapter for images: `pipelines.core.preprocess` and `pipelines.core.signals` behind one interface."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipelines.core.modalities.modality import SizeLimit
from pipelines.core.preprocess import DECODER_ERRORS, IMAGE_FORMATS, ImagePreprocess, decode_image, image_to_array
from pipelines.core.signals import IMAGE_STATISTICS, image_statistics

# PIL does not say how many; more than any limit.
_BOMB_PIXELS = 2**40


@dataclass(frozen=True)
class ImageModality:
    """Image files to [c, h, w]."""

    kind: ClassVar[str] = "image"
    noun: ClassVar[str] = "image"
    statistics: ClassVar[tuple[str, ...]] = IMAGE_STATISTICS

    spec: ImagePreprocess

    @property
    def size_limit(self) -> SizeLimit:
        """Pixels."""
        return SizeLimit("pixels", self.spec.max_pixels)

    def stated_size(self, data: bytes) -> int | None:
        """Pixels, as the header states them."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
                with Image.open(io.BytesIO(data), formats=IMAGE_FORMATS) as header:
                    return header.width * header.height
        except Image.DecompressionBombError:
            return _BOMB_PIXELS
        except DECODER_ERRORS:
            return None

    def decode(self, data: bytes) -> Image.Image:
        """As `preprocess.decode_image`."""
        return decode_image(data, self.spec)

    def to_array(self, decoded: Image.Image) -> NDArray[np.float32]:
        """float32 [c, h, w]."""
        return image_to_array(decoded, self.spec)

    def input_statistics(self, decoded: Image.Image) -> NDArray[np.float32]:
        """As `signals.image_statistics`."""
        return image_statistics(decoded)

    def bucket(self, array: NDArray[np.float32]) -> int:
        """All images have one size."""
        return 0

    def batch(self, arrays: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """float32 [b, c, h, w]."""
        return np.stack(arrays)
