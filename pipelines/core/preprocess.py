"""The only code that turns bytes into tensors: training, gates, goldens and the endpoint all call it.

Preprocessing is data: an `ImagePreprocess` is stored in the bundle and never resolved again.
Letters for shapes: b batch, c channels, h height, w width.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from typing import Annotated, Any, Literal, NamedTuple, cast

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
# EXIF's orientations: which are turned by a quarter, and in which left and right, or top and bottom, have changed places after that.
_ORIENTATION, _QUARTER_TURNS, _MIRRORED_ACROSS, _MIRRORED_DOWN = 0x0112, (5, 6, 7, 8), (2, 3, 6, 7), (3, 4, 7, 8)
# As PIL's own thumbnail: with a gap of 2 the result is very close to resizing the whole image.
_DRAFT_GAP = 2
# In the `info` of a decoded image; no text, so that no field of a file can have its name.
_DRAFT = ("regraft", "draft")
_SIXTEEN_BIT_MODES = ("I;16", "I;16L", "I;16B", "I;16N", "I")


class ImagePreprocess(BaseModel):
    """How an image file becomes the input of a backbone.

    Attributes:
        color: `L` gives 1 channel, `RGB` gives 3.
        height_px, width_px: Size of the network's input.
        fit: `squash` resizes both sides to the target; `crop` resizes the short side to target / crop_frac, then crops the centre.
        crop_frac: Share of the resized image that the centre crop keeps, in (0, 1].
        interpolation: PIL's filter. PIL's and torch's differ, which changes accuracy, so it is part of the spec.
        mean, std: Per channel, of values scaled to [0, 1].
        max_pixels: Images with more pixels are refused before they are decoded.
        jpeg_draft: Large JPEGs are decoded at 1/2, 1/4 or 1/8 of their size, at no less than twice the size that they are then resized
            to: faster, and a little other pixels. It changes nothing for photos of less than four times that size.
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
    jpeg_draft: bool = False

    @property
    def n_channels(self) -> int:
        """1 for grey images, 3 for colour."""
        return 1 if self.color == "L" else 3

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Of one network input: [c, h, w]."""
        return self.n_channels, self.height_px, self.width_px

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
            draft = _decode_smaller(image, spec) if spec.jpeg_draft and image.format in ("JPEG", "MPO") else None
            image.load()
            upright = _as_mode(ImageOps.exif_transpose(image), spec.color)
            if draft is not None:
                cast("dict[Any, Any]", upright.info)[_DRAFT] = draft
            return upright
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


class _Draft(NamedTuple):
    """A photo that was decoded smaller, upright.

    Attributes:
        size: Width and height of the whole photo.
        box: Where it lies in the draft: left, top, right, bottom. The draft's sides are rounded up.
    """

    size: tuple[int, int]
    box: tuple[float, float, float, float]


def _decode_smaller(image: Image.Image, spec: ImagePreprocess) -> _Draft | None:
    """Sets a JPEG's decoder to the size that is needed."""
    orientation = image.getexif().get(_ORIENTATION)
    upright = image.size[::-1] if orientation in _QUARTER_TURNS else image.size
    width, height = (_DRAFT_GAP * side for side in _resized_size(upright[0], upright[1], spec))
    drafted = image.draft(None, (height, width) if orientation in _QUARTER_TURNS else (width, height))
    if drafted is None:
        return None
    sides, lengths = (image.size[::-1], drafted[1][:1:-1]) if orientation in _QUARTER_TURNS else (image.size, drafted[1][2:])
    # What was added is at the right and at the bottom as the camera held it.
    left = sides[0] - lengths[0] if orientation in _MIRRORED_ACROSS else 0.0
    top = sides[1] - lengths[1] if orientation in _MIRRORED_DOWN else 0.0
    return _Draft(upright, (left, top, left + lengths[0], top + lengths[1]))


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
    return np.ascontiguousarray(normalise(image_to_pixels(image, spec), spec).transpose(2, 0, 1))


def image_to_pixels(image: Image.Image, spec: ImagePreprocess) -> NDArray[np.uint8]:
    """Resizes and crops a decoded image.

    Returns:
        uint8 [h, w, c].

    Raises:
        DataError: As `image_to_array`.
    """
    return np.asarray(_resize(image, spec)).reshape(spec.height_px, spec.width_px, spec.n_channels)


def normalise(pixels: NDArray[np.uint8], spec: ImagePreprocess, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
    """What a network is fed with: `(value / 255 - mean) / std`.

    Args:
        pixels: uint8 [h, w, c].
        spec: Mean and std.
        out: float32 [h, w, c], contiguous, to be written into.

    Returns:
        float32 [h, w, c].
    """
    values = np.empty(pixels.shape, np.float32) if out is None else out
    # In rows of w * c values: NumPy is far slower when the inner loop is over 3 channels.
    rows = values.reshape(spec.height_px, -1, copy=False)
    np.divide(pixels.reshape(rows.shape), np.float32(255), out=rows, dtype=np.float32)
    rows -= np.tile(np.asarray(spec.mean, np.float32), spec.width_px)
    rows /= np.tile(np.asarray(spec.std, np.float32), spec.width_px)
    return values


def _resize(image: Image.Image, spec: ImagePreprocess) -> Image.Image:
    resample = _RESAMPLING[spec.interpolation]
    size, box = _photo(image)
    width, height = _resized_size(size[0], size[1], spec)
    if spec.fit == "squash":
        return image.resize((width, height), resample, box)
    _refuse_long_resize(width * height, image, spec)
    left, top = round((width - spec.width_px) / 2), round((height - spec.height_px) / 2)
    return image.resize((width, height), resample, box).crop((left, top, left + spec.width_px, top + spec.height_px))


def _photo(image: Image.Image) -> tuple[tuple[int, int], tuple[float, float, float, float] | None]:
    information: dict[Any, Any] = image.info
    draft = information.get(_DRAFT)
    return (draft.size, draft.box) if isinstance(draft, _Draft) else (image.size, None)


def _resized_size(width: int, height: int, spec: ImagePreprocess) -> tuple[int, int]:
    """Width and height of the whole image when it is resized, before the crop."""
    if spec.fit == "squash":
        return spec.width_px, spec.height_px
    # timm's evaluation transform: the short side to floor(target / crop_frac), the other truncated, then the centre.
    scale = max(int(spec.width_px / spec.crop_frac) / width, int(spec.height_px / spec.crop_frac) / height)
    return max(int(width * scale + 1e-9), spec.width_px), max(int(height * scale + 1e-9), spec.height_px)


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
