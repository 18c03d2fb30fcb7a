"""Small pictures of requests whose raw bytes were kept, to be put into a page."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from PIL import Image

from pipelines.core.errors import RegraftError
from pipelines.core.preprocess import ImagePreprocess, decode_image

_SIDE_PX = 72


def thumbnail(raw: Path, name: str, spec: ImagePreprocess) -> str | None:
    """A `data:` address of a PNG of at most 72 x 72 pixels; None where the bytes are gone or are no image.

    Clients sent these bytes: they are decoded with the limits of the endpoint, and drawn anew.

    Args:
        raw: Folder of the kept inputs.
        name: sha256 of the bytes, by the request log.
        spec: The bundle's, for its limit of pixels.
    """
    path = raw / name
    if path.name != name or not path.is_file():
        return None
    try:
        image = decode_image(path.read_bytes(), spec)
    except RegraftError:
        return None
    image.thumbnail((_SIDE_PX, _SIDE_PX), Image.Resampling.BILINEAR)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
