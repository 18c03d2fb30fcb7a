from __future__ import annotations

import base64
import hashlib
import io
from pathlib import Path

import pytest
from PIL import Image

from monitoring.thumbnails import thumbnail
from pipelines.core.preprocess import ImagePreprocess


@pytest.fixture
def spec() -> ImagePreprocess:
    return ImagePreprocess(color="L", width_px=28, height_px=28, mean=(0.5,), std=(0.5,))


def kept(folder: Path, data: bytes) -> str:
    name = hashlib.sha256(data).hexdigest()
    (folder / name).write_bytes(data)
    return name


def as_png(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (width, height), 128).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_kept_image_becomes_a_small_png(tmp_path: Path, spec: ImagePreprocess) -> None:
    address = thumbnail(tmp_path, kept(tmp_path, as_png(400, 100)), spec)
    assert address is not None
    assert address.startswith("data:image/png;base64,")
    with Image.open(io.BytesIO(base64.b64decode(address.split(",")[1]))) as image:
        assert image.size == (72, 18)


@pytest.mark.parametrize("data", [b"", b"<svg onload=alert(1)>", b"\x89PNG broken"])
def test_what_is_no_image_has_none(tmp_path: Path, spec: ImagePreprocess, data: bytes) -> None:
    assert thumbnail(tmp_path, kept(tmp_path, data), spec) is None


def test_gone_bytes_and_names_that_lead_elsewhere_have_none(tmp_path: Path, spec: ImagePreprocess) -> None:
    assert thumbnail(tmp_path, "0" * 64, spec) is None
    (tmp_path / "outside.png").write_bytes(as_png(5, 5))
    inner = tmp_path / "raw"
    inner.mkdir()
    assert thumbnail(inner, "../outside.png", spec) is None
