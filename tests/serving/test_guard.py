"""The outermost layer: what it refuses, and that the log it writes holds nothing of the client's."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from serving.guard import MAX_HEADER_BYTES, guarded


async def _inner(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-request-id", b"of the inner one")]})
    await send({"type": "http.response.body", "body": scope["state"]["request_id"].encode()})


def ask(path: str = "/model", method: str = "GET", headers: Any = (), kind: str = "http") -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(dict(message))

    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    scope = {"type": kind, "path": path, "method": method, "headers": list(headers)}
    asyncio.run(guarded(_inner)(scope, receive, send))
    return sent


@pytest.mark.parametrize("path", ["/predict", "/feedback", "/model", "/openapi.json", "/livez", "/readyz", "/healthz", "/metrics"])
def test_known_paths_pass(path: str) -> None:
    assert ask(path)[0]["status"] == 200


@pytest.mark.parametrize(
    "path", ["/", "/docs", "/schema.json", "/predict/", "//predict", "/livez/../x", "/livezz", "/\n", "/static_content/x"]
)
def test_other_paths_are_not_found_and_not_quoted(path: str) -> None:
    start, body = ask(path)
    assert start["status"] == 404
    assert b"not_found" in body["body"]
    assert path == "/" or path.encode() not in body["body"]


def test_one_request_id_everywhere() -> None:
    start, body = ask()
    assert [value for name, value in start["headers"] if name == b"x-request-id"] == [body["body"]]


@pytest.mark.parametrize(
    ("origin", "status"),
    [(b"http://here:3000", 200), (b"https://here:3000", 200), (b"http://evil", 403), (b"null", 403), (b"", 403), (b"http://here", 403)],
)
def test_pages_of_other_origins_are_refused(origin: bytes, status: int) -> None:
    assert ask("/predict", "POST", [(b"host", b"here:3000"), (b"origin", origin)])[0]["status"] == status


def test_large_headers_are_refused() -> None:
    assert ask(headers=[(b"cookie", bytes(MAX_HEADER_BYTES))])[0]["status"] == 431
    assert ask(headers=[(b"x", b"y")] * MAX_HEADER_BYTES)[0]["status"] == 431
    assert ask(headers=[(b"cookie", bytes(MAX_HEADER_BYTES - 6))])[0]["status"] == 200


def test_websockets_are_closed() -> None:
    assert ask(kind="websocket") == [{"type": "websocket.close", "code": 1008}]


def test_the_access_log_cannot_be_forged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        ask("/predict\n2026-11-21 bundle 1234 is loaded", "GET\nX")
        ask("/predict", "POST")
        ask("/livez")
    lines = [record.getMessage() for record in caplog.records if record.name == "bentoml.regraft"]
    assert lines[0].startswith("(other) (unknown) 404 ")
    assert lines[1].startswith("POST /predict 200 ")
    assert len(lines) == 2
