"""Looks into image files that a table or a folder names: each is read once, and what is wrong with it is said, not raised."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from PIL import Image

from pipelines.core.errors import DataError
from pipelines.core.preprocess import DECODER_ERRORS, IMAGE_FORMATS, ImagePreprocess, decode_image

# Decoding leaves the interpreter lock and reading waits for the disk, so more threads than cores pay off a little.
_N_THREADS = 8
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


@dataclass(frozen=True)
class Unusable:
    """A file that cannot be a sample.

    Attributes:
        problem: What is wrong with it, in a few words.
    """

    problem: str


def normal_path(path: str) -> str:
    """The one way to write a relative path: `./images//a.png` becomes `images/a.png`."""
    return str(PurePosixPath(path))


def inspect_images(folder: Path, paths: Sequence[str], links_may_leave: bool = False) -> list[ImageFile | Unusable]:
    """Reads each file once.

    Args:
        folder: That every file must lie in.
        paths: Relative to `folder`, with forward slashes.
        links_may_leave: Whether a link may point out of `folder`: for a source that is copied, not for data that is tracked.

    Returns:
        One entry for each path, in the given order.
    """
    with ThreadPoolExecutor(_N_THREADS) as pool:
        return list(pool.map(lambda path: _inspect(folder, path, links_may_leave), paths))


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


def _inspect(folder: Path, path: str, links_may_leave: bool) -> ImageFile | Unusable:
    try:
        problem = _place_problem(folder, path, links_may_leave)
        return Unusable(problem) if problem else inspect_bytes((folder / path).read_bytes())
    # A name with a null byte is a ValueError and a circle of links a RuntimeError.
    except (OSError, ValueError, RuntimeError) as error:
        return Unusable(f"cannot be read ({getattr(error, 'strerror', None) or error})")


def _place_problem(folder: Path, path: str, links_may_leave: bool) -> str | None:
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts:
        return f"the path leads out of {folder.name}/"
    file = folder / path
    if not file.exists():
        return "is a link to nothing" if file.is_symlink() else "no such file" + _misspelling(folder, path)
    if not file.is_file():
        return "is a folder, not a file" if file.is_dir() else "is no regular file"
    if not links_may_leave and not file.resolve().is_relative_to(folder.resolve()):
        return f"is a link that leads out of {folder.name}/ (with DVC, set cache.type to copy, reflink or hardlink)"
    return None


def _misspelling(folder: Path, path: str) -> str:
    if "\\" in path and (folder / path.replace("\\", "/")).is_file():
        return "; write forward slashes"
    here = (folder / path).parent
    nearest = [entry.name for entry in here.iterdir() if entry.name.casefold() == Path(path).name.casefold()] if here.is_dir() else []
    return f"; the folder holds {nearest[0]!r}" if nearest else ""
