"""Describes for OpenAPI what FastAPI cannot see: bodies are read under limits by our own code, not by FastAPI."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from serving.schemas import ErrorAnswer, Feedback, FeedbackList, JsonPredictRequest

if TYPE_CHECKING:
    from fastapi import FastAPI

_REFERENCE = "#/components/schemas/{model}"
_MEANINGS = {
    400: "The request has a wrong form.",
    408: "The request arrived too slowly.",
    413: "Too many bytes or images.",
    415: "Neither JSON nor a form.",
    422: "An image that does not decode, too many pixels, or an unknown label.",
    500: "A fault of the endpoint.",
    503: "No model yet, or too much work; see Retry-After.",
    504: "Not answered in time.",
}


def error_answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """FastAPI's description of failure answers."""
    return {status: {"model": ErrorAnswer, "description": _MEANINGS[status]} for status in statuses}


def describe_bodies(app: FastAPI) -> None:
    """Adds the bodies of POST /predict and POST /feedback to the application's OpenAPI document."""
    from fastapi.openapi.utils import get_openapi

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            content = get_openapi(title=app.title, version=app.version, routes=app.routes)
            content["paths"]["/predict"]["post"]["requestBody"] = {"required": True, "content": _predict_content()}
            content["paths"]["/feedback"]["post"]["requestBody"] = {"required": True, "content": _feedback_content()}
            content["components"]["schemas"].update(_schemas(JsonPredictRequest, Feedback, FeedbackList))
            app.openapi_schema = content
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign] # FastAPI's documented way to extend the document


def _predict_content() -> dict[str, Any]:
    form = {
        "type": "object",
        "required": ["images"],
        "properties": {
            "images": {"type": "array", "items": {"type": "string", "format": "binary"}, "minItems": 1},
            "domain": JsonPredictRequest.model_json_schema()["properties"]["domain"],
        },
    }
    return {
        "multipart/form-data": {"schema": form},
        "application/json": {"schema": {"$ref": _REFERENCE.format(model="JsonPredictRequest")}},
    }


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
