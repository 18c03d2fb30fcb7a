"""The endpoint's routes."""

from __future__ import annotations

import asyncio
import logging
import threading
import traceback
import uuid
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from fastapi import FastAPI
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

# FastAPI looks the annotations of routes up by name, so these two must be names of the module.
from starlette.requests import Request
from starlette.responses import Response

from serving.endpoint import Endpoint
from serving.failures import RequestFailure
from serving.metrics import counters
from serving.openapi import describe_bodies, error_answers
from serving.predict_request import JSON, MULTIPART, refuse_other_types
from serving.schemas import FeedbackAnswer, ModelAnswer, PredictAnswer

T = TypeVar("T")
_log = logging.getLogger("bentoml.regraft")


def build_app(endpoint: Callable[[], Endpoint]) -> FastAPI:
    """Makes the FastAPI application.

    Args:
        endpoint: Gives the endpoint that answers; called for each request.
    """
    # The interactive pages load scripts from a CDN; the description itself is served.
    app = FastAPI(title="Regraft endpoint", version="1", docs_url=None, redoc_url=None, openapi_url="/openapi.json", redirect_slashes=False)
    _add_routes(app, endpoint)
    _add_failure_answers(app)
    describe_bodies(app, lambda: endpoint().served_form())
    return app


def _add_routes(app: FastAPI, endpoint: Callable[[], Endpoint]) -> None:
    async def predict(request: Request) -> Response:
        """Classifies one input or many, in the form that the model's modality has; GET /model says what it takes."""
        content_type = refuse_other_types(request.headers.getlist("content-type"), MULTIPART, JSON)
        one = endpoint()
        answer = await _work(request, one, lambda body: partial(one.predict, body, content_type, request_id_of(request)))
        return JSONResponse(answer.model_dump(exclude_none=True))

    async def feedback(request: Request) -> Response:
        """Takes the true label of one earlier prediction or of many."""
        refuse_other_types(request.headers.getlist("content-type"), JSON)
        one = endpoint()
        answer = await _work(request, one, lambda body: partial(one.take_feedback, body, request_id_of(request)))
        return JSONResponse(answer.model_dump())

    async def model() -> Response:
        """Says which bundle answers, since when, and which one was refused."""
        return JSONResponse(endpoint().describe().model_dump())

    app.post("/predict", response_model=PredictAnswer, responses=error_answers(400, 408, 413, 415, 422, 500, 503, 504))(predict)
    app.post("/feedback", response_model=FeedbackAnswer, responses=error_answers(400, 408, 413, 415, 422, 500, 503, 504))(feedback)
    app.get("/model", response_model=ModelAnswer)(model)


async def _work(request: Request, endpoint: Endpoint, job: Callable[[bytes], Callable[[threading.Event], T]]) -> T:
    endpoint.model()
    endpoint.pool.refuse_if_full()
    loop = asyncio.get_running_loop()
    deadline = loop.time() + endpoint.settings.timeout_seconds
    async with endpoint.body_reader.read(request, endpoint.settings.timeout_seconds) as body:
        return await endpoint.pool.run(job(body), deadline - loop.time())


def request_id_of(request: Request) -> str:
    """The id that the server gave to this exchange."""
    if not hasattr(request.state, "request_id"):
        request.state.request_id = uuid.uuid4().hex
    return str(request.state.request_id)


def _add_failure_answers(app: FastAPI) -> None:
    counted = counters().failures

    async def on_failure(request: Request, error: Any) -> Response:
        counted.labels(code=error.code).inc()
        return _failure_response(request, error)

    async def on_http_exception(request: Request, error: Any) -> Response:
        allowed = (error.headers or {}).get("Allow", "")
        failure = RequestFailure(
            error.status_code, "wrong_method" if allowed else "http", _text_of(allowed), "see GET /openapi.json for the routes."
        )
        return _failure_response(request, failure, {"Allow": allowed} if allowed else {})

    async def on_bug(request: Request, error: Any) -> Response:
        request_id = request_id_of(request)
        counted.labels(code="internal").inc()
        # The places in the code, not the message: it may quote what the client sent.
        places = "".join(traceback.format_tb(error.__traceback__)[-8:])
        _log.error("request %s failed with %s at\n%s", request_id, type(error).__name__, places)
        return _failure_response(
            request, RequestFailure(500, "internal", "the endpoint failed.", "report it with the request id; the log has the place.")
        )

    app.add_exception_handler(RequestFailure, on_failure)
    app.add_exception_handler(HTTPException, on_http_exception)
    app.add_exception_handler(Exception, on_bug)


def _text_of(allowed: str) -> str:
    return f"this path takes {allowed} only." if allowed else "the request cannot be routed."


def _failure_response(request: Request, failure: RequestFailure, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse(failure.body(request_id_of(request)), failure.status, headers={**failure.headers(), **(headers or {})})
