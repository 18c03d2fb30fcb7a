"""What a page shows of an input: a small picture, or the beginning of a text. One row for each modality; others are not shown."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines.core.errors import DataError

if TYPE_CHECKING:
    from pipelines.core.modalities.modality import Modality

SIDE_PX = 72
MOST_CHARACTERS = 280


@dataclass(frozen=True)
class Excerpt:
    """Of one input; one of the two is empty.

    Attributes:
        picture: `data:` address of a PNG of at most 72 x 72 pixels.
        text: At most 280 characters and the sign for what follows; whoever writes it into a page escapes it.
    """

    picture: str = ""
    text: str = ""


def excerpt_of(data: bytes, modality: Modality) -> Excerpt | None:
    """What a page can show of a raw input; nothing where it does not decode, or its modality has no excerpts.

    Clients sent these bytes: they are decoded with the limits of the endpoint, and pictures are drawn anew.
    """
    show = _SHOWN_AS.get(modality.kind)
    try:
        return None if show is None else show(modality.decode(data))
    except DataError:
        return None


def beginning(text: str) -> str:
    """Its first characters on one line; cut at a blank where one is near."""
    text = text.strip()
    line = " ".join(text[: 2 * MOST_CHARACTERS].split())
    if len(line) <= MOST_CHARACTERS and len(text) <= 2 * MOST_CHARACTERS:
        return line
    cut = line[:MOST_CHARACTERS]
    at_blank = cut.rpartition(" ")[0]
    return (at_blank if len(at_blank) > MOST_CHARACTERS // 2 else cut) + "…"


def _thumbnail(image: Any) -> Excerpt:
    from PIL import Image

    image.thumbnail((SIDE_PX, SIDE_PX), Image.Resampling.BILINEAR)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return Excerpt(picture=f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}")


def _beginning(decoded: Any) -> Excerpt:
    return Excerpt(text=beginning(decoded.text))


# By the modality's kind; each takes what the modality's `decode` gives.
_SHOWN_AS: Mapping[str, Callable[[Any], Excerpt]] = {"image": _thumbnail, "text": _beginning}
