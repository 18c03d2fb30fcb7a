"""From a request's body to image bytes: multipart or JSON, and nothing else."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass

from pipelines.core.request_log import DOMAIN_PATTERN
from serving.failures import RequestFailure, bad_request, too_large, unprocessable
from serving.multipart import Part, parse_multipart
from serving.schemas import DEFAULT_DOMAIN, JsonPredictRequest
from serving.strict_json import parse_strict

JSON = "application/json"
MULTIPART = "multipart/form-data"


@dataclass(frozen=True)
class PredictRequest:
    """What a client asks.

    Attributes:
        images: Raw image files, at least one.
        domain: Where they come from.
    """

    images: tuple[bytes, ...]
    domain: str


def media_type(content_type: str) -> str:
    """The type without its parameters, in lower case: `application/json` of `application/JSON; charset=utf-8`."""
    return content_type.partition(";")[0].strip().lower()


def refuse_other_types(content_types: list[str], *allowed: str) -> str:
    """The request's one content type.

    Raises:
        RequestFailure: 415 where there is none, more than one, or another than `allowed`.
    """
    if len(content_types) != 1 or media_type(content_types[0]) not in allowed:
        raise RequestFailure(
            415,
            "wrong_content_type",
            f"the Content-Type header is not one of {' or '.join(allowed)}.",
            "send JSON, or upload files with a form; no other encoding is taken.",
        )
    return content_types[0]


def parse_predict_request(body: bytes, content_type: str, max_images: int) -> PredictRequest:
    """Reads the body of POST /predict.

    Args:
        body: The whole body.
        content_type: The request's header; JSON or multipart.
        max_images: More are refused.

    Raises:
        RequestFailure: 400 wrong form, 413 too many images, 422 base64 that cannot be decoded.
    """
    if media_type(content_type) == JSON:
        return _from_json(parse_strict(body, JsonPredictRequest), max_images)
    # One more for `domain`.
    return _from_form(parse_multipart(body, content_type, max_parts=max_images + 1), max_images)


def _from_json(request: JsonPredictRequest, max_images: int) -> PredictRequest:
    _refuse_too_many(len(request.images), max_images)
    return PredictRequest(tuple(_decode(image.content_base64, index) for index, image in enumerate(request.images)), request.domain)


def _decode(text: str, index: int) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise unprocessable(
            "wrong_base64", f"images[{index}].content_base64 is not base64.", "encode the file's bytes in standard base64, with padding."
        ) from error


def _from_form(parts: list[Part], max_images: int) -> PredictRequest:
    images = [part.content for part in parts if part.name == "images" and part.is_file]
    domains = [part.content for part in parts if part.name == "domain" and not part.is_file]
    n_other = len(parts) - len(images) - len(domains)
    if n_other:
        raise bad_request(
            "wrong_form",
            f"the form has {n_other} part(s) besides file parts named images and one text part named domain.",
            'send files like `curl -F "images=@cat.png"`; text and addresses in place of files are not taken.',
        )
    if not images or len(domains) > 1:
        raise bad_request(
            "wrong_form",
            f"the form has {len(images)} images and {len(domains)} domains.",
            "send at least one file named images, and at most one domain.",
        )
    _refuse_too_many(len(images), max_images)
    return PredictRequest(tuple(images), _domain(domains))


def _domain(domains: list[bytes]) -> str:
    domain = domains[0].decode("latin-1") if domains else DEFAULT_DOMAIN
    # fullmatch: `$` alone would let a line break at the end pass.
    if not re.fullmatch(DOMAIN_PATTERN.strip("^$"), domain):
        raise bad_request(
            "wrong_form",
            "the part named domain does not have the allowed form.",
            "use 1 to 64 letters, digits, dots, dashes, colons or underscores.",
        )
    return domain


def _refuse_too_many(n_images: int, max_images: int) -> None:
    if n_images > max_images:
        raise too_large(f"the request has {n_images} images; the limit is {max_images}.", "send them in several requests.")
