"""OGG files taken apart and put together again, their checksums right (RFC 3533)."""

from __future__ import annotations

import struct


def pages_of(data: bytes) -> list[bytes]:
    """The pages of a whole file."""
    pages, place = [], 0
    while place < len(data):
        assert data.startswith(b"OggS", place)
        n_segments = data[place + 26]
        length = 27 + n_segments + sum(data[place + 27 : place + 27 + n_segments])
        pages.append(data[place : place + length])
        place += length
    return pages


def position_of(page: bytes) -> int:
    """Samples of sound up to the page's end."""
    return int(struct.unpack_from("<q", page, 6)[0])


def with_position(page: bytes, position: int) -> bytes:
    """The page said to end elsewhere in the sound."""
    return _sealed(page[:6] + struct.pack("<q", position) + page[14:])


def with_number(page: bytes, number: int) -> bytes:
    """The page at another place of its stream."""
    return _sealed(page[:18] + struct.pack("<I", number) + page[22:])


def _sealed(page: bytes) -> bytes:
    blank = page[:22] + bytes(4) + page[26:]
    return blank[:22] + struct.pack("<I", _checksum(blank)) + blank[26:]


def _checksum(data: bytes) -> int:
    """CRC-32 of polynomial 0x04c11db7, not reflected, from 0."""
    register = 0
    for byte in data:
        register ^= byte << 24
        for _ in range(8):
            register = (register << 1) ^ (0x04C11DB7 if register & 0x80000000 else 0)
            register &= 0xFFFFFFFF
    return register
