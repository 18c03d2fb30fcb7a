"""What is wrong with the pages of an OGG file (RFC 3533, section 6: https://www.rfc-editor.org/rfc/rfc3533).

libsndfile says nothing of it: it leaves out pages whose checksum is wrong, and fills a gap from what is around it, or makes up what was
there.
"""

from __future__ import annotations

import struct
import zlib

_CAPTURE = b"OggS"
_HEADER_BYTES = 27
_BEGINS = 0x02
# Of the position in the sound, the stream, the page's number in it and its checksum.
_NUMBERS, _NUMBERS_AT, _CHECKSUM_AT = struct.Struct("<qIII"), 6, 22
_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_ALL_ONES = 0xFFFFFFFF


def ogg_damage(data: bytes) -> str:
    """What is wrong with a file, to be set behind "a sound file"; empty where nothing is, and of what is no OGG file.

    What is missing between the headers of a stream and its first sound is no damage: a recording of a broadcast begins so. A file that was
    cut off between two pages has nothing wrong with them.
    """
    place, n_lost = 0, 0
    latest: dict[int, tuple[int, bool]] = {}
    while data.startswith(_CAPTURE, place):
        page = _page(data, place)
        if len(page) < _HEADER_BYTES:
            return "that ends within a page"
        position, stream, number, checksum = _NUMBERS.unpack_from(page, _NUMBERS_AT)
        if _checksum(page[:_CHECKSUM_AT] + bytes(4) + page[_CHECKSUM_AT + 4 :]) != checksum:
            return "with a page that is damaged, or cut off"
        before, has_sound = latest.get(stream, (number - 1, False))
        if has_sound and not page[5] & _BEGINS:
            n_lost += max(0, number - before - 1)
        # Headers are at position 0; a page in which no packet ends is at -1.
        latest[stream] = number, position != 0
        place += len(page)
    if latest and place < len(data):
        return "with something between its pages or behind them that is none"
    return f"that lost {n_lost} of its pages on the way" if n_lost else ""


def _page(data: bytes, place: int) -> bytes:
    """As much of the page that begins there as the file has."""
    header = data[place : place + _HEADER_BYTES]
    lengths = data[place + _HEADER_BYTES : place + _HEADER_BYTES + header[-1]]
    return data[place : place + _HEADER_BYTES + len(lengths) + sum(lengths)]


def _checksum(page: bytes) -> int:
    """CRC-32 of polynomial 0x04c11db7 from 0, not reflected: that of zlib with the bits of its bytes and of its result mirrored."""
    mirrored = zlib.crc32(page.translate(_MIRRORED), _ALL_ONES) ^ _ALL_ONES
    return int.from_bytes(mirrored.to_bytes(4, "little").translate(_MIRRORED), "big")
