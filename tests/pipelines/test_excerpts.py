from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipelines.core.modalities.image import ImageModality
from pipelines.core.modalities.text import decode_text
from pipelines.core.preprocess import ImagePreprocess
from pipelines.excerpts import MOST_CHARACTERS, Excerpt, beginning, excerpt_of

IMAGES = ImageModality(ImagePreprocess(color="L", width_px=28, height_px=28, mean=(0.5,), std=(0.5,)))


@dataclass(frozen=True)
class Decoded:
    text: str


class Texts:
    """The text adapter's decoding without its tokeniser."""

    kind = "text"

    def decode(self, data: bytes) -> Any:
        return Decoded(decode_text(data, 1_000))


class Unknown:
    kind = "smell"

    def decode(self, data: bytes) -> Any:
        raise NotImplementedError


def as_png(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (width, height), 128).save(buffer, "PNG")
    return buffer.getvalue()


def test_an_image_becomes_a_small_png() -> None:
    shown = excerpt_of(as_png(400, 100), IMAGES)
    assert shown is not None
    assert (shown.picture[:22], shown.text) == ("data:image/png;base64,", "")
    with Image.open(io.BytesIO(base64.b64decode(shown.picture.split(",")[1]))) as image:
        assert image.size == (72, 18)


@pytest.mark.parametrize("data", [b"", b"<svg onload=alert(1)>", b"\x89PNG broken"])
def test_what_is_no_image_has_none(data: bytes) -> None:
    assert excerpt_of(data, IMAGES) is None


def test_a_text_is_shown_on_one_line_and_control_characters_are_not() -> None:
    shown = excerpt_of("first\n\n second\x00\x1b[31m third \N{OWL}".encode(), Texts())  # type: ignore[arg-type]
    assert shown == Excerpt(text="first second [31m third \N{OWL}")


@pytest.mark.parametrize("data", [b"", b" \n ", b"\xff\xfe\x00", b"a" * 1_001])
def test_what_is_no_text_has_none(data: bytes) -> None:
    assert excerpt_of(data, Texts()) is None  # type: ignore[arg-type]


def test_a_modality_without_excerpts_is_not_decoded() -> None:
    assert excerpt_of(b"x", Unknown()) is None  # type: ignore[arg-type]


def test_a_long_text_is_cut_at_a_blank() -> None:
    text = "word " * 1_000
    assert beginning(text) == ("word " * 56)[:-1] + "…"
    assert beginning("x" * 1_000) == "x" * MOST_CHARACTERS + "…"
    assert beginning("short and whole") == "short and whole"
    assert beginning("\n" * 5_000 + "late" + " " * 5_000) == "late"
    assert beginning(" " * 5_000 + text) == beginning(text)


@given(st.text(max_size=1_500))
def test_an_excerpt_is_short_and_begins_as_the_text_does(text: str) -> None:
    shown = beginning(text)
    assert len(shown) <= MOST_CHARACTERS + 1
    assert "\n" not in shown
    assert " ".join(text.split()).startswith(shown.removesuffix("…"))
