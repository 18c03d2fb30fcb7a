from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from pipelines.core.ogg_pages import ogg_damage
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
    assert ogg_damage(b"".join(pages)) == ""
    for start in range(first + 1, len(pages) - 1):
        for stop in range(start + 1, len(pages)):
            assert ogg_damage(b"".join(pages[:start] + pages[stop:])) == f"that lost {stop - start} of its pages on the way"


@pytest.mark.parametrize("subtype", list(WHOLE))
def test_a_recording_of_a_broadcast_has_lost_nothing(subtype: str) -> None:
    pages = pages_of(WHOLE[subtype])
    first = next(place for place, page in enumerate(pages) if position_of(page) > 0)
    later = [with_number(page, number) for number, page in enumerate(pages[first:], 1_000)]
    assert ogg_damage(b"".join(pages[:first] + later)) == ""
    assert ogg_damage(b"".join(pages[:first] + later[:1] + later[2:])) == "that lost 1 of its pages on the way"


def test_files_one_behind_the_other_have_lost_nothing() -> None:
    assert ogg_damage(WHOLE["VORBIS"] * 2 + WHOLE["OPUS"]) == ""


@given(st.sampled_from(list(WHOLE)), st.data())
def test_whatever_is_damaged_is_seen(subtype: str, draw: st.DataObject) -> None:
    whole = WHOLE[subtype]
    place = draw.draw(st.integers(0, len(whole) - 1))
    other = bytes([whole[place] ^ draw.draw(st.integers(1, 255))])
    # Without its first letters it is no OGG file, which the reader of sounds says.
    assert (ogg_damage(whole[:place] + other + whole[place + 1 :]) != "") == (place >= 4)


@pytest.mark.parametrize("subtype", list(WHOLE))
def test_a_file_that_is_cut_off_within_a_page_is_seen(subtype: str) -> None:
    pages = pages_of(WHOLE[subtype])
    *before, last = pages
    for kept in (1, 3, 4, 10, 26, 27, 40, len(last) - 1):
        assert ogg_damage(b"".join(before) + last[:kept]) != ""
    assert ogg_damage(b"".join(before)) == ""
    assert ogg_damage(WHOLE[subtype] + b"more") == "with something between its pages or behind them that is none"


@given(st.binary(max_size=200))
def test_any_bytes_are_looked_at(data: bytes) -> None:
    assert ogg_damage(data) == "" or data.startswith(b"OggS")
    assert ogg_damage(b"OggS" + data) != "" or len(data) >= 23
