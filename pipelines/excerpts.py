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
        picture: `data:` address of a PNG of at most 72 x 72 pixels; of a sound its spectrogram.
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
        return None if show is None else show(data, modality)
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


def _thumbnail(data: bytes, modality: Modality) -> Excerpt:
    return _as_png(modality.decode(data))


def _as_png(image: Any) -> Excerpt:
    from PIL import Image

    image.thumbnail((SIDE_PX, SIDE_PX), Image.Resampling.BILINEAR)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return Excerpt(picture=f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}")


def _spectrogram(data: bytes, modality: Modality) -> Excerpt:
    from PIL import Image

    from pipelines.spectrogram_picture import spectrogram_picture

    return _as_png(Image.fromarray(spectrogram_picture(data, modality)).resize((SIDE_PX, SIDE_PX)))


def _beginning(data: bytes, modality: Modality) -> Excerpt:
    return Excerpt(text=beginning(modality.decode(data).text))


# By the modality's kind.
_SHOWN_AS: Mapping[str, Callable[[bytes, Modality], Excerpt]] = {"image": _thumbnail, "text": _beginning, "audio": _spectrogram}
