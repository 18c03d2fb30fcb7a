"""Describes for OpenAPI what FastAPI cannot see: bodies are read under limits by our own code, not by FastAPI."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from serving.input_forms import INPUT_FORMS, InputForm
from serving.schemas import ErrorAnswer, Feedback, FeedbackList

if TYPE_CHECKING:
    from fastapi import FastAPI

_REFERENCE = "#/components/schemas/{model}"
_MEANINGS = {
    400: "The request has a wrong form.",
    408: "The request arrived too slowly.",
    413: "Too many bytes or inputs.",
    415: "Neither JSON nor a form.",
    422: "Inputs that cannot be used or are too large together, inputs of another kind than the model takes, or an unknown label.",
    500: "A fault of the endpoint.",
    503: "No model yet, or too much work; see Retry-After.",
    504: "Not answered in time.",
}


def error_answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """FastAPI's description of failure answers."""
    return {status: {"model": ErrorAnswer, "description": _MEANINGS[status]} for status in statuses}


def describe_bodies(app: FastAPI, served: Callable[[], InputForm | None]) -> None:
    """Adds the bodies of POST /predict and POST /feedback to the application's OpenAPI document.

    Args:
        app: With its routes.
        served: How inputs of the model that serves are sent; None while none serves, when every form is described.
    """
    from fastapi.openapi.utils import get_openapi

    @cache
    def document(form: InputForm | None) -> dict[str, Any]:
        forms = list(INPUT_FORMS.values()) if form is None else [form]
        content = get_openapi(title=app.title, version=app.version, routes=app.routes)
        content["paths"]["/predict"]["post"]["requestBody"] = {"required": True, "content": _predict_content(forms)}
        content["paths"]["/feedback"]["post"]["requestBody"] = {"required": True, "content": _feedback_content()}
        content["components"]["schemas"].update(_schemas(*(form.request for form in forms), Feedback, FeedbackList))
        return content

    app.openapi = lambda: document(served())  # type: ignore[method-assign] # FastAPI's documented way to extend the document


def _predict_content(forms: Sequence[InputForm]) -> dict[str, Any]:
    uploads = [_upload(form) for form in forms if form.is_uploaded]
    bodies = [{"$ref": _REFERENCE.format(model=form.request.__name__)} for form in forms]
    content = {"multipart/form-data": {"schema": _one_of(uploads)}} if uploads else {}
    return {**content, "application/json": {"schema": _one_of(bodies)}}


def _upload(form: InputForm) -> dict[str, Any]:
    return {
        "type": "object",
        "required": [form.key],
        "properties": {
            form.key: {"type": "array", "items": {"type": "string", "format": "binary"}, "minItems": 1},
            "domain": form.request.model_json_schema()["properties"]["domain"],
        },
    }


def _one_of(schemas: list[dict[str, Any]]) -> dict[str, Any]:
    return schemas[0] if len(schemas) == 1 else {"oneOf": schemas}


def _feedback_content() -> dict[str, Any]:
    one_or_many = [{"$ref": _REFERENCE.format(model=name)} for name in ("Feedback", "FeedbackList")]
    return {"application/json": {"schema": {"oneOf": one_or_many}}}


def _schemas(*models: Any) -> dict[str, Any]:
    collected: dict[str, Any] = {}
    for model in models:
        schema = model.model_json_schema(ref_template=_REFERENCE)
        collected.update(schema.pop("$defs", {}))
        collected[model.__name__] = schema
    return collected
