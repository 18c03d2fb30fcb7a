from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.image_files import ImageFile, inspect_bytes, inspect_images
from pipelines.input_files import Unusable, normal_path
from tests.pipelines.planted import picture, write_files


def test_facts_of_a_file() -> None:
    data = picture(1, (9, 7), "PNG", "L")
    grey = np.asarray(Image.open(io.BytesIO(data)))
    pixels = np.repeat(grey[:, :, None], 3, axis=2).tobytes()
    expected_pixels = hashlib.sha256(b"9 x 7 RGB\0" + pixels).hexdigest()
    assert inspect_bytes(data) == ImageFile(hashlib.sha256(data).hexdigest(), 9, 7, "L", len(data), expected_pixels, ".png")


def test_pixel_digest_sees_the_picture_not_the_file() -> None:
    as_png, as_bmp, other = (inspect_bytes(data) for data in (picture(1), picture(1, file_format="BMP"), picture(2)))
    assert as_png.pixel_digest == as_bmp.pixel_digest != other.pixel_digest
    assert as_png.id != as_bmp.id


def test_pixel_digest_sees_the_shape() -> None:
    flat = np.zeros((2, 6), np.uint8), np.zeros((3, 4), np.uint8)
    digests = set()
    for pixels in flat:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        digests.add(inspect_bytes(buffer.getvalue()).pixel_digest)
    assert len(digests) == 2


@pytest.mark.parametrize(
    ("file_format", "extension"), [("PNG", ".png"), ("JPEG", ".jpg"), ("WEBP", ".webp"), ("BMP", ".bmp"), ("GIF", ".gif"), ("TIFF", ".tif")]
)
def test_extension_fits_the_content(file_format: str, extension: str) -> None:
    assert inspect_bytes(picture(3, file_format=file_format)).extension == extension


def test_order_is_that_of_the_paths(tmp_path: Path) -> None:
    write_files(tmp_path, {f"{number}.png": picture(number) for number in range(40)})
    names = [f"{number}.png" for number in reversed(range(40))]
    assert [file.id for file in inspect_images(tmp_path, names)] == [hashlib.sha256(picture(n)).hexdigest() for n in reversed(range(40))]


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("missing.png", "no such file"),
        ("A.PNG", "no such file; the folder holds 'a.png'"),
        ("sub\\b.png", "no such file; write forward slashes"),
        ("../outside.png", "the path leads out of data/"),
        ("sub/../../outside.png", "the path leads out of data/"),
        ("sub", "is a folder, not a file"),
        ("link.png", "is a link that leads out of data/ (with DVC, set cache.type to copy, reflink or hardlink)"),
        ("pipe", "is no regular file"),
        ("loop.png", "is a link to nothing"),
        ("truncated.png", "60 bytes that do not decode as an image (OSError)"),
        ("text.png", "5 bytes that do not decode as an image (UnidentifiedImageError)"),
        ("empty.png", "0 bytes that do not decode as an image (UnidentifiedImageError)"),
    ],
)
def test_unusable_files(tmp_path: Path, path: str, problem: str) -> None:
    data = tmp_path / "data"
    contents = {"a.png": picture(1), "sub/b.png": picture(2), "truncated.png": picture(3)[:60], "text.png": b"hello", "empty.png": b""}
    write_files(data, contents)
    write_files(tmp_path, {"outside.png": picture(4)})
    (data / "link.png").symlink_to(tmp_path / "outside.png")
    (data / "loop.png").symlink_to(data / "loop.png")
    os.mkfifo(data / "pipe")
    assert inspect_images(data, [path]) == [Unusable(problem)]


@pytest.mark.parametrize("path", ["/etc/hostname", "nul\0l.png", "n" * 300 + ".png"])
def test_odd_paths_are_unusable_too(tmp_path: Path, path: str) -> None:
    assert isinstance(inspect_images(tmp_path, [path])[0], Unusable)


def test_links_may_leave_a_source(tmp_path: Path) -> None:
    write_files(tmp_path, {"outside.png": picture(4)})
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "link.png").symlink_to(tmp_path / "outside.png")
    assert isinstance(inspect_images(tmp_path / "source", ["link.png"], links_may_leave=True)[0], ImageFile)


def test_normal_path() -> None:
    assert {normal_path(path) for path in ("a/b.png", "./a/b.png", "a//b.png", "a/./b.png")} == {"a/b.png"}
