from __future__ import annotations

import hashlib
import io
from pathlib import Path

from PIL import Image

from monitoring.kept_inputs import kept_excerpt
from pipelines.core.modalities.image import ImageModality
from pipelines.core.preprocess import ImagePreprocess
from pipelines.excerpts import excerpt_of

IMAGES = ImageModality(ImagePreprocess(color="L", width_px=28, height_px=28, mean=(0.5,), std=(0.5,)))


def as_png() -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (40, 10), 128).save(buffer, "PNG")
    return buffer.getvalue()


def test_kept_bytes_are_shown(tmp_path: Path) -> None:
    name = hashlib.sha256(as_png()).hexdigest()
    (tmp_path / name).write_bytes(as_png())
    assert kept_excerpt(tmp_path, name, IMAGES) == excerpt_of(as_png(), IMAGES) is not None


def test_gone_bytes_and_names_that_lead_elsewhere_have_none(tmp_path: Path) -> None:
    assert kept_excerpt(tmp_path, "0" * 64, IMAGES) is None
    (tmp_path / "outside.png").write_bytes(as_png())
    inner = tmp_path / "raw"
    inner.mkdir()
    assert kept_excerpt(inner, "../outside.png", IMAGES) is None
