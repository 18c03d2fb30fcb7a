"""The outermost layer of the endpoint, around BentoML's own.

BentoML labels its metrics with the raw path and writes the raw path and headers to its access log: unknown paths would fill the
memory and forge log lines. So what is not ours is answered here, and the access log is written here without a word of the client's.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any

from serving.failures import RequestFailure

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

OWN_PATHS = ("/predict", "/feedback", "/model", "/openapi.json")
SYSTEM_PATHS = ("/livez", "/readyz", "/healthz", "/metrics")
MAX_HEADER_BYTES = 32_768
# Asked again and again by probes, and they change nothing.
_QUIET_PATHS = (*SYSTEM_PATHS, "/model", "/openapi.json")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_log = logging.getLogger("bentoml.regraft")


def guarded(app: AsgiApp) -> AsgiApp:
    """Wraps an application."""

    async def guard(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] != "http":
            await app(scope, receive, send)
        else:
            await _answer(app, scope, receive, send)

    return guard


async def _answer(app: AsgiApp, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
    started = time.perf_counter()
    request_id = uuid.uuid4().hex
    scope.setdefault("state", {})["request_id"] = request_id
    status = 0

    async def noting_send(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
            message = {**message, "headers": [*_without_request_id(message), (b"x-request-id", request_id.encode())]}
        await send(message)

    failure = _refusal(scope)
    if failure is None:
        await app(scope, receive, noting_send)
    else:
        await send_failure(failure, request_id, noting_send)
    if scope["path"] not in _QUIET_PATHS:
        _log_access(scope, request_id, status, time.perf_counter() - started)


def _refusal(scope: MutableMapping[str, Any]) -> RequestFailure | None:
    if scope["path"] not in OWN_PATHS and scope["path"] not in SYSTEM_PATHS:
        return RequestFailure(
            404, "not_found", f"there is no such path; there are {', '.join(OWN_PATHS)}.", "see GET /openapi.json for the routes."
        )
    headers = scope["headers"]
    if sum(len(name) + len(value) for name, value in headers) > MAX_HEADER_BYTES:
        return RequestFailure(
            431, "large_headers", f"the headers have more than {MAX_HEADER_BYTES} bytes.", "send fewer cookies or headers."
        )
    if _has_two_lengths(headers):
        return RequestFailure(400, "two_lengths", "the request states its length in two ways.", "send Content-Length, or chunks.")
    if _is_foreign_page(headers):
        # A form on any web page may post to an address that its reader's machine can reach; it could fill the request log.
        return RequestFailure(
            403, "foreign_page", "the request comes from a page of another origin.", "send it from a server, or from the same origin."
        )
    return None


def _is_foreign_page(headers: list[tuple[bytes, bytes]]) -> bool:
    origins = [value for name, value in headers if name == b"origin"]
    hosts = [value for name, value in headers if name == b"host"]
    return any(origin.partition(b"://")[2] not in hosts for origin in origins)


def _has_two_lengths(headers: list[tuple[bytes, bytes]]) -> bool:
    # A proxy in front may believe the other one, and take a part of the body for another client's request.
    return {b"content-length", b"transfer-encoding"} <= {name for name, _ in headers}


def _without_request_id(message: Message) -> list[tuple[bytes, bytes]]:
    return [(name, value) for name, value in message.get("headers", []) if name.lower() != b"x-request-id"]


async def send_failure(failure: RequestFailure, request_id: str, send: Send) -> None:
    """Answers with a failure."""
    body = json.dumps(failure.body(request_id)).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if failure.status == HTTPStatus.BAD_REQUEST:  # where the request ends is not certain
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": failure.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _log_access(scope: MutableMapping[str, Any], request_id: str, status: int, seconds: float) -> None:
    method = scope["method"] if scope["method"] in _METHODS else "(other)"
    path = scope["path"] if scope["path"] in OWN_PATHS else "(unknown)"
    _log.info("%s %s %d %.1f ms request %s", method, path, status, seconds * 1000, request_id)
