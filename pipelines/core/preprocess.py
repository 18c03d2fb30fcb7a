"""The only code that turns bytes into tensors: training, gates, goldens and the endpoint all call it.

Preprocessing is data: an `ImagePreprocess` is stored in the bundle and never resolved again.
Letters for shapes: b batch, c channels, h height, w width.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipelines.core.errors import DataError

_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
# What the decoder may be asked to parse. PIL knows some 40 formats; each is attack surface of the endpoint.
IMAGE_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
# PIL raises all of these for damaged input. struct.error, which is no ValueError, and AttributeError come from EXIF with entries of
# another type than their tag has: turning the image upright writes its EXIF anew.
DECODER_ERRORS = (OSError, ValueError, SyntaxError, EOFError, IndexError, TypeError, AttributeError, MemoryError, struct.error)
_SIXTEEN_BIT_MODES = ("I;16", "I;16L", "I;16B", "I;16N", "I")


class ImagePreprocess(BaseModel):
    """How an image file becomes the input of a backbone.

    Attributes:
        color: `L` gives 1 channel, `RGB` gives 3.
        height_px, width_px: Size of the network's input.
        fit: `squash` resizes both sides to the target; `crop` resizes the short side to target / crop_frac, then crops the centre.
        crop_frac: Share of the resized image that the centre crop keeps, in (0, 1].
        interpolation: PIL's filter. PIL against tensor resizing alone costs a ResNet-18 0.8 points, so it is part of the spec.
        mean, std: Per channel, of values scaled to [0, 1].
        max_pixels: Images with more pixels are refused before they are decoded.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["image"] = "image"
    color: Literal["L", "RGB"]
    height_px: Annotated[int, Field(ge=8, le=2048)]
    width_px: Annotated[int, Field(ge=8, le=2048)]
    fit: Literal["squash", "crop"] = "squash"
    crop_frac: Annotated[float, Field(gt=0, le=1)] = 1.0
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bicubic"
    mean: tuple[float, ...]
    std: tuple[Annotated[float, Field(gt=0)], ...]
    max_pixels: Annotated[int, Field(ge=1)] = 50_000_000

    @property
    def n_channels(self) -> int:
        """1 for grey images, 3 for colour."""
        return 1 if self.color == "L" else 3

    @model_validator(mode="after")
    def _one_value_per_channel(self) -> ImagePreprocess:
        if not len(self.mean) == len(self.std) == self.n_channels:
            raise ValueError(f"mean has {len(self.mean)} and std {len(self.std)} values; {self.color} needs {self.n_channels} of each")
        return self


def decode_image(data: bytes, spec: ImagePreprocess) -> Image.Image:
    """Decodes one image file as the spec's colour mode, upright (EXIF), transparency laid on white.

    16-bit grey is scaled by 1/257, so that 65,535 becomes 255.

    Raises:
        DataError: The bytes are no image of an allowed format, are truncated, or hold too many pixels.
    """
    try:
        with Image.open(io.BytesIO(data), formats=IMAGE_FORMATS) as image:
            _refuse_too_many_pixels(image, spec)
            image.load()
            return _as_mode(ImageOps.exif_transpose(image), spec.color)
    except DataError:
        raise
    except Image.DecompressionBombError as error:
        raise _too_many_pixels(str(error).removesuffix("."), spec) from error
    except DECODER_ERRORS as error:
        raise DataError(
            got=f"{len(data)} bytes that do not decode as an image ({type(error).__name__}).",
            allowed=f"a complete {', '.join(IMAGE_FORMATS)} file of at most {spec.max_pixels} pixels.",
            next_step="open the file in an image viewer, export it again, or leave it out.",
        ) from error


def _refuse_too_many_pixels(image: Image.Image, spec: ImagePreprocess) -> None:
    n_pixels = image.width * image.height
    if n_pixels > spec.max_pixels:
        raise _too_many_pixels(f"an image of {image.width} x {image.height} = {n_pixels} pixels", spec)


def _too_many_pixels(got: str, spec: ImagePreprocess) -> DataError:
    return DataError(
        got=f"{got}.",
        allowed=f"at most {spec.max_pixels} pixels.",
        next_step="scale the image down, or raise max_pixels in the preprocess spec and train again.",
    )


def _as_mode(image: Image.Image, color: str) -> Image.Image:
    if image.mode in _SIXTEEN_BIT_MODES:
        image = Image.fromarray((np.asarray(image).astype(np.int64).clip(0, 65_535) // 257).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return image.convert(color)


def image_to_array(image: Image.Image, spec: ImagePreprocess) -> NDArray[np.float32]:
    """Resizes, crops and normalises a decoded image.

    Returns:
        float32 [c, h, w], `(value / 255 - mean) / std`.

    Raises:
        DataError: The image is so long a strip that scaling it for the crop would make more than the allowed pixels.
    """
    resized = _resize(image, spec)
    pixels = np.asarray(resized, dtype=np.float32).reshape(spec.height_px, spec.width_px, spec.n_channels) / np.float32(255)
    normalised = (pixels - np.asarray(spec.mean, np.float32)) / np.asarray(spec.std, np.float32)
    return np.ascontiguousarray(normalised.transpose(2, 0, 1))


def _resize(image: Image.Image, spec: ImagePreprocess) -> Image.Image:
    resample = _RESAMPLING[spec.interpolation]
    if spec.fit == "squash":
        return image.resize((spec.width_px, spec.height_px), resample)
    # timm's evaluation transform: the short side to floor(target / crop_frac), the other truncated, then the centre.
    scale = max(int(spec.width_px / spec.crop_frac) / image.width, int(spec.height_px / spec.crop_frac) / image.height)
    width, height = max(int(image.width * scale + 1e-9), spec.width_px), max(int(image.height * scale + 1e-9), spec.height_px)
    _refuse_long_resize(width * height, image, spec)
    left, top = round((width - spec.width_px) / 2), round((height - spec.height_px) / 2)
    return image.resize((width, height), resample).crop((left, top, left + spec.width_px, top + spec.height_px))


def _refuse_long_resize(n_pixels: int, image: Image.Image, spec: ImagePreprocess) -> None:
    # Scaling the short side of a strip of 1 x 100,000 pixels to 224 would make 5,000 million pixels of it.
    if n_pixels > spec.max_pixels:
        raise DataError(
            got=f"an image of {image.width} x {image.height} pixels, too long a strip to be scaled: {n_pixels} pixels.",
            allowed=f"at most {spec.max_pixels} pixels after the short side is scaled for the crop.",
            next_step="crop the image to a less extreme shape, or leave it out.",
        )


def preprocess(samples: Sequence[bytes], spec: ImagePreprocess) -> NDArray[np.float32]:
    """Turns image files into one input batch.

    Returns:
        float32 [b, c, h, w].

    Raises:
        DataError: One of the samples does not decode.
    """
    return np.stack([image_to_array(decode_image(data, spec), spec) for data in samples])
