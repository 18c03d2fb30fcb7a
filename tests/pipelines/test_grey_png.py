from __future__ import annotations

import io
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from pipelines.grey_png import grey_png


@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=40)))
def test_pil_reads_the_same_pixels(pixels: np.ndarray) -> None:
    image = Image.open(io.BytesIO(grey_png(pixels)))
    image.load()
    assert (image.format, image.mode) == ("PNG", "L")
    np.testing.assert_array_equal(np.asarray(image), pixels)


def test_bytes_do_not_depend_on_a_compressor() -> None:
    """The stream is one stored block: zlib reads it, and nothing but the format's rules made it."""
    pixels = np.arange(6, dtype=np.uint8).reshape(2, 3)
    content = grey_png(pixels)
    start = content.index(b"IDAT") + 4
    assert zlib.decompress(content[start : content.index(b"IEND") - 8]) == bytes([0, 0, 1, 2, 0, 3, 4, 5])
    assert content[start : start + 7] == b"\x78\x01\x01\x08\x00\xf7\xff"
    assert grey_png(np.asfortranarray(pixels)) == content


@given(st.integers(256, 300))
def test_too_large_pictures_are_refused(side_px: int) -> None:
    with pytest.raises(ValueError, match="do not fit one stored deflate block"):
        grey_png(np.zeros((side_px, side_px), np.uint8))
