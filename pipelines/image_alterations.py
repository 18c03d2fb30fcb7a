"""Changes of a picture that leave open what a model makes of it: each takes a decoded 8-bit picture, `L` or `RGB`, and gives another.

Files go in and files come out (`opened`, `png`, `jpeg`), so that a bundle's own `Predictor` gets raw bytes, as in production.
Decoding is the bundle's own: upright by EXIF, transparency on white, 16 bits as 8, a palette as its colours.
"""

from __future__ import annotations

import io
import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter, ImageOps

from pipelines.core.preprocess import ImagePreprocess, decode_image

# Files live for one prediction: writing them fast matters, their size does not.
_PNG_COMPRESS_LEVEL = 1


def opened(content: bytes, spec: ImagePreprocess) -> Image.Image:
    """The picture at its full size, in the spec's colour mode.

    Raises:
        DataError: It does not decode.
    """
    return decode_image(content, spec.model_copy(update={"jpeg_draft": False}))


def png(image: Image.Image) -> bytes:
    """A file that loses nothing."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", compress_level=_PNG_COMPRESS_LEVEL)
    return buffer.getvalue()


def jpeg(image: Image.Image, quality: int) -> bytes:
    """A file that loses what JPEG loses at that quality, in [1, 95]."""
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=quality)
    return buffer.getvalue()


def shrunk(image: Image.Image, spec: ImagePreprocess) -> Image.Image:
    """At most as large as the network needs it, its sides in proportion; never enlarged."""
    needed = (int(spec.width_px / spec.crop_frac), int(spec.height_px / spec.crop_frac))
    factor = max(need / side for need, side in zip(needed, image.size, strict=True))
    if factor >= 1:
        return image
    width, height = (max(math.floor(side * factor + 1e-9), need) for need, side in zip(needed, image.size, strict=True))
    return image.resize((width, height), Image.Resampling[spec.interpolation.upper()])


def blurred(image: Image.Image, sigma_px: float) -> Image.Image:
    """Gaussian blur."""
    return image.filter(ImageFilter.GaussianBlur(sigma_px))


def with_noise(image: Image.Image, deviation: float, rng: np.random.Generator) -> Image.Image:
    """Gaussian noise on every value, of standard deviation `deviation` where values are in [0, 1]."""
    values = _values(image)
    return _picture(values + rng.normal(0, deviation, values.shape), image.mode)


def brightened(image: Image.Image, shift: float) -> Image.Image:
    """Adds `shift`, in [-1, 1], to the brightness (the V of HSV, in [0, 1]); hue and saturation stay."""
    values = _values(image)
    before = values.max(axis=2, keepdims=True)
    after = np.clip(before + shift, 0, 1)
    return _picture(np.where(before > 0, values * (after / np.maximum(before, 1 / 255)), after), image.mode)


def flipped(image: Image.Image, direction: str) -> Image.Image:
    """Mirrored: `horizontal` changes left and right, `vertical` top and bottom."""
    return ImageOps.mirror(image) if direction == "horizontal" else ImageOps.flip(image)


def rotated(image: Image.Image, degrees: float) -> Image.Image:
    """Turned counter-clockwise about the centre, at the same size; the corners get the median colour of the picture's border."""
    values = np.asarray(image).reshape(image.height, image.width, -1)
    border = np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])
    median = tuple(int(value) for value in np.median(border, axis=0))
    return image.rotate(degrees, Image.Resampling.BICUBIC, fillcolor=median if len(median) > 1 else median[0])


def cropped(image: Image.Image, kept_frac: float) -> Image.Image:
    """The centre, `kept_frac` of each side."""
    width, height = (max(1, round(side * kept_frac)) for side in image.size)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def _values(image: Image.Image) -> NDArray[np.float64]:
    # [h, w, c], in [0, 1].
    return np.asarray(image, dtype=np.float64).reshape(image.height, image.width, -1) / 255


def _picture(values: NDArray[np.float64], mode: str) -> Image.Image:
    pixels = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
    return Image.fromarray(pixels[:, :, 0] if mode == "L" else pixels)
