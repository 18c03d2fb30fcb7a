"""Writes small grey pictures as PNG files whose bytes depend on nothing but the pixels.

A compressed PNG differs with the version of zlib (or zlib-ng) that an image library was built with. Data whose digest is under
version control must not, so the pixels are stored here without compression: PNG specification, https://www.w3.org/TR/png-3/, and
stored deflate blocks, https://www.rfc-editor.org/rfc/rfc1951#section-3.2.4.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MAX_STORED_BYTES = 65_535


def grey_png(pixels: NDArray[np.uint8]) -> bytes:
    """Encodes pixels [h, w] as an 8-bit grey PNG.

    Raises:
        ValueError: More pixels than one stored deflate block holds: h * (w + 1) is at most 65,535.
    """
    height_px, width_px = pixels.shape
    rows = b"".join(b"\0" + row.tobytes() for row in np.ascontiguousarray(pixels))
    if len(rows) > _MAX_STORED_BYTES:
        raise ValueError(f"{width_px} x {height_px} pixels do not fit one stored deflate block of {_MAX_STORED_BYTES} bytes")
    block = b"\x01" + struct.pack("<HH", len(rows), len(rows) ^ 0xFFFF) + rows
    stream = b"\x78\x01" + block + struct.pack(">I", zlib.adler32(rows))
    header = struct.pack(">IIBBBBB", width_px, height_px, 8, 0, 0, 0, 0)
    return _SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", stream) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
