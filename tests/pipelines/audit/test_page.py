from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.audit.findings import AuditFinding
from pipelines.audit.page import MAX_SHOWN, thumbnail, write_page
from pipelines.core.bundle import file_sha256
from pipelines.dataset import Sample


def shown(image: Image.Image, kind: str = "PNG") -> Image.Image:
    file = io.BytesIO()
    image.save(file, kind)
    uri = thumbnail(file.getvalue())
    return Image.open(io.BytesIO(base64.b64decode(uri.partition("base64,")[2])))


def test_small_pictures_keep_sharp_pixels() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    enlarged = np.asarray(shown(Image.fromarray(pixels)))
    assert np.array_equal(enlarged, pixels.repeat(12, axis=0).repeat(12, axis=1))


@pytest.mark.parametrize(("size", "expected"), [((400, 200), (96, 48)), ((97, 97), (96, 96)), ((96, 20), (96, 20)), ((1, 2000), (1, 96))])
def test_large_ones_are_scaled_down(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert shown(Image.new("RGB", size, "red")).size == expected


def test_where_a_photo_was_taken_does_not_get_into_the_page() -> None:
    image, exif = Image.new("RGB", (300, 300)), Image.Exif()
    exif[0x010E] = "at home"
    file = io.BytesIO()
    image.save(file, "JPEG", exif=exif)
    assert b"at home" in file.getvalue()
    assert b"at home" not in base64.b64decode(thumbnail(file.getvalue()).partition("base64,")[2])


def test_a_page_of_many_findings_shows_the_first_and_says_so(tmp_path: Path) -> None:
    Image.new("L", (8, 8), 40).save(tmp_path / "a.png")
    sample = Sample(file_sha256(tmp_path / "a.png"), "a.png", "x", "g", "default", "", "train")
    findings = [AuditFinding("label", "a.png", "train", "x", "y", 0.9)] * (MAX_SHOWN + 7)
    counts = {"n_label": len(findings), "n_near_duplicate": 0, "n_outlier": 0, "n_leaking": 0}
    summary = {**counts, "n_samples": 1_200, "n_examined": 1_200, "skipped": ""}
    write_page(findings, {"a.png": sample}, tmp_path, "p", summary, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert page.count("<img ") == MAX_SHOWN
    assert f"The first {MAX_SHOWN} of {MAX_SHOWN + 7}; audit.csv has all of them." in page
    assert "1,200" in page
