from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from pipelines.core.ogg_pages import n_lost_pages
from tests.pipelines.core.ogg_files import pages_of, position_of, with_number


def encoded(subtype: str) -> bytes:
    buffer = io.BytesIO()
    times = np.arange(20 * 16_000) / 16_000
    soundfile.write(buffer, 0.5 * np.sin(2 * np.pi * 440 * times), 16_000, format="OGG", subtype=subtype)
    return buffer.getvalue()


WHOLE = {subtype: encoded(subtype) for subtype in ("VORBIS", "OPUS")}


@pytest.mark.parametrize("subtype", list(WHOLE))
def test_missing_pages_are_counted(subtype: str) -> None:
    pages = pages_of(WHOLE[subtype])
    first = next(place for place, page in enumerate(pages) if position_of(page) > 0)
    assert n_lost_pages(b"".join(pages)) == 0
    for start in range(first + 1, len(pages) - 1):
        for stop in range(start + 1, len(pages)):
            assert n_lost_pages(b"".join(pages[:start] + pages[stop:])) == stop - start


@pytest.mark.parametrize("subtype", list(WHOLE))
def test_a_recording_of_a_broadcast_has_lost_nothing(subtype: str) -> None:
    pages = pages_of(WHOLE[subtype])
    first = next(place for place, page in enumerate(pages) if position_of(page) > 0)
    later = [with_number(page, number) for number, page in enumerate(pages[first:], 1_000)]
    assert n_lost_pages(b"".join(pages[:first] + later)) == 0
    assert n_lost_pages(b"".join(pages[:first] + later[:1] + later[2:])) == 1


def test_files_one_behind_the_other_have_lost_nothing() -> None:
    assert n_lost_pages(WHOLE["VORBIS"] * 2 + WHOLE["OPUS"]) == 0


@given(st.binary(max_size=200), st.integers(0, 5_000))
def test_any_bytes_are_looked_at(data: bytes, cut: int) -> None:
    assert n_lost_pages(data) == 0
    assert n_lost_pages(WHOLE["VORBIS"][:cut] + data) >= 0
