"""Looks into image files: what is wrong with one is said, not raised."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from pipelines.core.errors import DataError
from pipelines.core.preprocess import DECODER_ERRORS, IMAGE_FORMATS, ImagePreprocess, decode_image
from pipelines.input_files import Unusable, inspect_files

# Colour and at full size: pixel digests must not depend on the backbone that a project happens to use.
_AS_IT_IS = ImagePreprocess(color="RGB", height_px=8, width_px=8, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
EXTENSIONS = {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp", "BMP": ".bmp", "TIFF": ".tif", "GIF": ".gif"}
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".webp", ".bmp", ".tif", ".tiff", ".gif")


@dataclass(frozen=True)
class ImageFile:
    """A file that decodes as an image.

    Attributes:
        id: sha256 of its bytes.
        width_px, height_px: Upright, as EXIF says.
        mode: PIL's mode before any conversion, for example `L`, `RGBA` or `I;16`.
        n_bytes: Size of the file.
        pixel_digest: sha256 of size and decoded RGB pixels: the same picture in another file format has the same one.
        extension: That fits the content, for example `.png`, whatever the file is called.
    """

    id: str
    width_px: int
    height_px: int
    mode: str
    n_bytes: int
    pixel_digest: str
    extension: str


def inspect_images(folder: Path, paths: Sequence[str], links_may_leave: bool = False) -> list[ImageFile | Unusable]:
    """As `inspect_files`, of images."""
    return inspect_files(folder, paths, inspect_bytes, links_may_leave)


def inspect_bytes(data: bytes) -> ImageFile | Unusable:
    """Decodes one file's content."""
    try:
        upright = decode_image(data, _AS_IT_IS)
    except DataError as error:
        return Unusable(error.got.rstrip("."))
    with Image.open(io.BytesIO(data), formats=IMAGE_FORMATS) as header:
        mode, extension = header.mode, EXTENSIONS.get(header.format or "", ".img")
    pixels = hashlib.sha256(f"{upright.width} x {upright.height} RGB\0".encode() + upright.tobytes()).hexdigest()
    return ImageFile(hashlib.sha256(data).hexdigest(), upright.width, upright.height, mode, len(data), pixels, extension)


def sides_px(file: Path) -> tuple[int, int] | None:
    """Width and height as the header states them, before EXIF turns the image; None where that cannot be read. Decodes nothing."""
    try:
        with Image.open(file, formats=IMAGE_FORMATS) as header:
            return header.size
    except (*DECODER_ERRORS, Image.DecompressionBombError):
        return None
