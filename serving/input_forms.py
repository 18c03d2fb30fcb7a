"""How clients send inputs of each modality: one row for each, and no other module of the endpoint knows what an input is."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from serving.failures import RequestFailure, unprocessable
from serving.schemas import JsonFile, JsonImagesRequest, JsonSoundsRequest, JsonTextsRequest
from serving.settings import EndpointSettings


@dataclass(frozen=True)
class InputForm:
    """How clients send inputs of one modality.

    Attributes:
        key: Of the list of inputs in the JSON form, and the name of the file parts of an upload.
        noun: What one of them is called.
        request: The JSON form; its field of the name `key` is the list.
        raw: The raw bytes, as a sample's file holds them, of one entry of the list and its place.
        is_uploaded: Whether files may also be uploaded in a form; else JSON alone is taken.
        most: By the settings, of what the modality's `stated_size` counts, for all inputs of a request together.
        example: How to send one.
        make_smaller: What a client with too much can do.
        repair: What a client with unusable ones can do.
    """

    key: str
    noun: str
    request: type[JsonImagesRequest | JsonTextsRequest | JsonSoundsRequest]
    raw: Callable[[Any, int], bytes]
    is_uploaded: bool
    most: Callable[[EndpointSettings], int]
    example: str
    make_smaller: str
    repair: str

    @property
    def taken(self) -> str:
        """In words: `images, as files of a form or as JSON`."""
        return f"{self.key}, {'as files of a form or as JSON' if self.is_uploaded else 'as JSON and in no other way'}"


def _decoded_of(key: str) -> Callable[[JsonFile, int], bytes]:
    def decoded(file: JsonFile, index: int) -> bytes:
        try:
            return base64.b64decode(file.content_base64, validate=True)
        except (binascii.Error, ValueError) as error:
            raise unprocessable(
                "wrong_base64",
                f"{key}[{index}].content_base64 is not base64.",
                "encode the file's bytes in standard base64, with padding.",
            ) from error

    return decoded


def _encoded(text: str, index: int) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:  # JSON can write \\ud800 alone
        raise unprocessable(
            "wrong_unicode", f"texts[{index}] holds half a character (a surrogate without its pair).", "send whole characters."
        ) from error


INPUT_FORMS: Mapping[str, InputForm] = {
    "image": InputForm(
        key="images",
        noun="image",
        request=JsonImagesRequest,
        raw=_decoded_of("images"),
        is_uploaded=True,
        most=lambda settings: settings.max_request_pixels,
        example='send files like `curl -F "images=@cat.png"`.',
        make_smaller="scale them down, or send them in several requests.",
        repair="open them in an image viewer, export them again, or leave them out",
    ),
    "text": InputForm(
        key="texts",
        noun="text",
        request=JsonTextsRequest,
        raw=_encoded,
        is_uploaded=False,
        most=lambda settings: settings.max_request_characters,
        example='send JSON like `{"texts": ["one", "two"]}`.',
        make_smaller="shorten them, or send them in several requests.",
        repair="correct them, or leave them out",
    ),
    "audio": InputForm(
        key="sounds",
        noun="sound",
        request=JsonSoundsRequest,
        raw=_decoded_of("sounds"),
        is_uploaded=True,
        most=lambda settings: settings.max_request_seconds,
        example='send files like `curl -F "sounds=@word.wav"`.',
        make_smaller="cut them, or send them in several requests.",
        repair="play them, export them again, or leave them out",
    ),
}


def refuse_other_kind(names: Collection[str], form: InputForm) -> None:
    """Finds out whether a request was made for a model of another kind.

    Args:
        names: Keys of the JSON body, or names of the form's parts.
        form: Of the model that serves.

    Raises:
        RequestFailure: 422; says what this model takes.
    """
    others = [other.key for other in INPUT_FORMS.values() if other.key in names and other.key != form.key]
    if others and form.key not in names:
        raise wrong_kind(f"the request sends {others[0]}", form)


def wrong_kind(got: str, form: InputForm) -> RequestFailure:
    """422: inputs that this model does not take, or not in this way."""
    return unprocessable("wrong_kind", f"{got}; the model that serves takes {form.taken}.", form.example)
