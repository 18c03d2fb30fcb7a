"""How a task's inputs are handed out to people who label them.

task     in Label Studio    in its tasks
image    <Image>            a link, or the image
text     <Text>             the text
audio    <Audio>            a link, or the sound
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipelines.core.modalities.text import decode_text
from pipelines.modalities.text_inputs import MOST_CHARACTERS


@dataclass(frozen=True)
class LabelObject:
    """What people are shown of a task's inputs.

    Attributes:
        tag: Label Studio's, in its labelling interface.
        name: Of the object there, and of its field in tasks.
        media_types: By the ending of a file; none where the input is a text, which tasks and sheets hold themselves.
    """

    tag: str
    name: str
    media_types: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_text(self) -> bool:
        """Whether tasks and sheets hold the input itself."""
        return not self.media_types


_IMAGES = {".png": "png", ".jpg": "jpeg", ".webp": "webp", ".bmp": "bmp", ".gif": "gif", ".tif": "tiff"}
LABEL_OBJECTS: Mapping[str, LabelObject] = {
    "image": LabelObject("Image", "image", {suffix: f"image/{kind}" for suffix, kind in _IMAGES.items()}),
    "text": LabelObject("Text", "text"),
    "audio": LabelObject("Audio", "audio", {".wav": "audio/wav", ".flac": "audio/flac", ".ogg": "audio/ogg"}),
}


def shown_text(content: bytes) -> str:
    """A text as the model reads it, without control characters: PostgreSQL, below Label Studio for one, holds no NUL.

    Raises:
        DataError: The bytes are no text.
    """
    return decode_text(content, MOST_CHARACTERS)
