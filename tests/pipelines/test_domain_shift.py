from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipelines.core.errors import DataError
from pipelines.domain_shift import shift_scanner
from pipelines.grey_png import grey_png
from pipelines.sample_data import digit_files


def pixels_of(content: bytes) -> NDArray[np.float64]:
    return np.asarray(Image.open(io.BytesIO(content)), dtype=np.float64)


@pytest.fixture(scope="module")
def digits() -> list[bytes]:
    return [content for name, content in digit_files().items() if name.endswith(".png")][:200]


def test_same_arguments_same_bytes(digits: list[bytes]) -> None:
    assert shift_scanner(digits[0], 7) == shift_scanner(digits[0], 7) != shift_scanner(digits[0], 8)


def test_size_and_mode(digits: list[bytes]) -> None:
    image = Image.open(io.BytesIO(shift_scanner(digits[0], 0)))
    assert (image.format, image.mode, image.size) == ("PNG", "L", (32, 32))


def test_black_and_white_change_places(digits: list[bytes]) -> None:
    assert np.mean([pixels_of(digit).mean() for digit in digits]) < 100
    assert np.mean([pixels_of(shift_scanner(digit, seed)).mean() for seed, digit in enumerate(digits)]) > 120


def test_empty_paper_is_white_with_the_stated_noise() -> None:
    """On mid-grey nothing is cut off at 0 or 255, so the spread is that of the noise."""
    shifted = pixels_of(shift_scanner(grey_png(np.full((8, 8), 128, np.uint8)), 3))[12:20, 12:20]
    assert abs(shifted.mean() - 127) < 4.5 * 12 / 8
    many = [pixels_of(shift_scanner(grey_png(np.full((8, 8), 128, np.uint8)), seed))[8:24, 8:24] for seed in range(20)]
    assert np.std(many) == pytest.approx(12, rel=0.05)


def test_strokes_get_thicker() -> None:
    """A bar of 2 of 8 pixels would cover 25 % of the width; the filter adds one pixel of 32 on either side."""
    bar = np.zeros((8, 8), np.uint8)
    bar[:, 3:5] = 255
    dark_fracs = [(pixels_of(shift_scanner(grey_png(bar), seed))[12:20] < 128).mean() for seed in range(30)]
    assert 0.28 < np.mean(dark_fracs) < 0.36


def test_angles_stay_within_15_degrees() -> None:
    """The slope of a vertical bar's centre line."""
    bar = np.zeros((8, 8), np.uint8)
    bar[:, 3:5] = 255
    angles = [bar_angle_degrees(pixels_of(shift_scanner(grey_png(bar), seed))) for seed in range(60)]
    assert max(np.abs(angles)) < 16
    assert np.std(angles) == pytest.approx(15 / np.sqrt(3), rel=0.25)


def bar_angle_degrees(pixels: NDArray[np.float64]) -> float:
    dark = (255 - pixels) * (pixels < 128)
    rows = np.arange(8, 24)
    centres = [(dark[row] * np.arange(32)).sum() / dark[row].sum() for row in rows]
    return float(np.degrees(np.arctan(np.polyfit(rows, centres, 1)[0])))


def test_no_image_is_refused() -> None:
    with pytest.raises(DataError, match="do not decode as an image"):
        shift_scanner(b"no image", 0)
