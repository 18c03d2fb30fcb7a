"""What an OGG file lost on the way, by the numbers of its pages (RFC 3533, section 6: https://www.rfc-editor.org/rfc/rfc3533).

libsndfile says nothing of a gap: it fills it from what is around it, or makes up what was there.
"""

from __future__ import annotations

import struct

_CAPTURE = b"OggS"
_HEADER_BYTES = 27
_BEGINS = 0x02
# Of the position in the sound, the stream and the page's number in it.
_NUMBERS, _NUMBERS_AT = struct.Struct("<qII"), 6


def n_lost_pages(data: bytes) -> int:
    """Pages that are missing between others of their stream; 0 of what is no OGG file.

    What is missing between the headers of a stream and its first sound is not counted: a recording of a broadcast begins so.
    """
    place, n_lost = 0, 0
    latest: dict[int, tuple[int, bool]] = {}
    while data[place : place + 4] == _CAPTURE and place + _HEADER_BYTES <= len(data):
        position, stream, number = _NUMBERS.unpack_from(data, place + _NUMBERS_AT)
        before, has_sound = latest.get(stream, (number - 1, False))
        if has_sound and not data[place + 5] & _BEGINS:
            n_lost += max(0, number - before - 1)
        # Headers are at position 0; a page in which no packet ends is at -1.
        latest[stream] = number, position != 0
        lengths = data[place + _HEADER_BYTES : place + _HEADER_BYTES + data[place + 26]]
        place += _HEADER_BYTES + len(lengths) + sum(lengths)
    return n_lost
