"""From a request's body to raw inputs: JSON, a form where the modality allows it, and nothing else."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from pipelines.core.request_log import DOMAIN_PATTERN
from serving.failures import RequestFailure, bad_request, too_large
from serving.input_forms import InputForm, refuse_other_kind, wrong_kind
from serving.multipart import Part, parse_multipart
from serving.schemas import DEFAULT_DOMAIN
from serving.strict_json import fit, load_strict

JSON = "application/json"
MULTIPART = "multipart/form-data"


@dataclass(frozen=True)
class PredictRequest:
    """What a client asks.

    Attributes:
        inputs: Raw, as a sample's file holds them; at least one.
        domain: Where they come from.
    """

    inputs: tuple[bytes, ...]
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


def parse_predict_request(body: bytes, content_type: str, form: InputForm, max_inputs: int) -> PredictRequest:
    """Reads the body of POST /predict.

    Args:
        body: The whole body.
        content_type: The request's header; JSON or multipart.
        form: Of the model that serves.
        max_inputs: More are refused.

    Raises:
        RequestFailure: 400 wrong form, 413 too many inputs, 422 inputs of another kind, or that cannot be turned into bytes.
    """
    if media_type(content_type) == JSON:
        return _from_json(load_strict(body), form, max_inputs)
    if not form.is_uploaded:
        raise wrong_kind("the request is a form", form)
    # One more for `domain`.
    return _from_parts(parse_multipart(body, content_type, max_parts=max_inputs + 1), form, max_inputs)


def _from_json(content: Any, form: InputForm, max_inputs: int) -> PredictRequest:
    if isinstance(content, dict):
        refuse_other_kind(content.keys(), form)
    request = fit(content, form.request)
    entries = getattr(request, form.key)
    _refuse_too_many(len(entries), form, max_inputs)
    return PredictRequest(tuple(form.raw(entry, index) for index, entry in enumerate(entries)), request.domain)


def _from_parts(parts: list[Part], form: InputForm, max_inputs: int) -> PredictRequest:
    refuse_other_kind({part.name for part in parts}, form)
    inputs = [part.content for part in parts if part.name == form.key and part.is_file]
    domains = [part.content for part in parts if part.name == "domain" and not part.is_file]
    n_other = len(parts) - len(inputs) - len(domains)
    if n_other:
        raise bad_request(
            "wrong_form",
            f"the form has {n_other} part(s) besides file parts named {form.key} and one text part named domain.",
            f"{form.example.removesuffix('.')}; text and addresses in place of files are not taken.",
        )
    if not inputs or len(domains) > 1:
        raise bad_request(
            "wrong_form",
            f"the form has {len(inputs)} {form.key} and {len(domains)} domains.",
            f"send at least one file named {form.key}, and at most one domain.",
        )
    _refuse_too_many(len(inputs), form, max_inputs)
    return PredictRequest(tuple(inputs), _domain(domains))


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


def _refuse_too_many(n_inputs: int, form: InputForm, max_inputs: int) -> None:
    if n_inputs > max_inputs:
        raise too_large(f"the request has {n_inputs} {form.key}; the limit is {max_inputs}.", "send them in several requests.")
