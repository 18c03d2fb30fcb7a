"""JSON that means one thing only: no doubled keys, no NaN, no endless nesting or numbers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

from serving.failures import RequestFailure, bad_request
from serving.schemas import TEXT_OR_LIST

Model = TypeVar("Model", bound=BaseModel)
_MAX_NAMED_PROBLEMS = 5


def parse_strict(body: bytes, schema: type[Model]) -> Model:
    """Parses a body as `schema`.

    Raises:
        RequestFailure: 400 where it is no strict JSON or does not fit.
    """
    return fit(load_strict(body), schema)


def load_strict(body: bytes) -> Any:
    """Parses a body as any JSON value.

    Raises:
        RequestFailure: 400 where it is no strict JSON.
    """
    try:
        return json.loads(body.decode("utf-8"), object_pairs_hook=_no_doubles, parse_constant=_no_constant)
    except RecursionError as error:
        raise _wrong("it is nested too deeply") from error
    except ValueError as error:  # JSONDecodeError, UnicodeDecodeError and too long numbers are ValueErrors
        raise _wrong("it is not valid UTF-8 JSON") from error


def fit(value: Any, schema: type[Model]) -> Model:
    """Validates a JSON value.

    Raises:
        RequestFailure: 400 where it does not fit; the places are named, the values never.
    """
    try:
        return schema.model_validate(value)
    except ValidationError as error:
        raise bad_request("wrong_json", f"the JSON body does not fit: {_named_problems(error, schema)}.") from error


def _no_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise _wrong("an object has the same key twice")
    return content


def _no_constant(_: str) -> NoReturn:
    raise _wrong("it holds NaN or Infinity")


def _wrong(problem: str) -> RequestFailure:
    return bad_request("wrong_json", f"the JSON body cannot be read: {problem}.")


def _named_problems(error: ValidationError, schema: type[BaseModel]) -> str:
    items = error.errors(include_url=False, include_input=False, include_context=False)
    known = _known_keys(schema)
    named = [f"{_place(item['loc'], known)}: {_problem(item['type'])}" for item in items[:_MAX_NAMED_PROBLEMS]]
    more = len(items) - len(named)
    return "; ".join(named) + (f"; and {more} more" if more > 0 else "")


def _problem(kind: str) -> str:
    texts = {
        "extra_forbidden": "this key is not known",
        "missing": "this key is missing",
        "too_short": "there must be at least one",
        "string_type": "this must be a string",
        TEXT_OR_LIST: "this must be a string, or a list of strings",
        "string_pattern_mismatch": "this does not have the allowed form",
    }
    return texts.get(kind, "this has the wrong type")


def _place(location: Sequence[int | str], known: frozenset[str]) -> str:
    parts = [str(part) if isinstance(part, int) or part in known else "(unknown key)" for part in location]
    return ".".join(parts) or "the body"


def _known_keys(schema: type[BaseModel]) -> frozenset[str]:
    definitions = schema.model_json_schema().get("$defs", {})
    return frozenset(schema.model_fields).union(*(definition.get("properties", {}) for definition in definitions.values()))
