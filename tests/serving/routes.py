"""The routes of an endpoint around a bundle, without a server, and what a refusal looks like."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from serving.app import build_app
from serving.endpoint import Endpoint
from serving.settings import EndpointSettings


def wait_until(holds: Callable[[], bool], seconds: float = 20) -> None:
    """Fails where it does not become true in time."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


@contextmanager
def serving(bundle: Path, **settings: Any) -> Iterator[tuple[Endpoint, TestClient]]:
    """An endpoint that has loaded a bundle, and a client of its routes."""
    endpoint = Endpoint(EndpointSettings(**settings), bundle)
    endpoint.start()
    try:
        wait_until(lambda: endpoint.slot.current is not None)
        with TestClient(build_app(lambda: endpoint), raise_server_exceptions=False) as client:
            yield endpoint, client
    finally:
        endpoint.stop()


def failure(response: Any, status: int, code: str) -> dict[str, str]:
    """The body of a refusal, which says what it must."""
    body: dict[str, str] = response.json()
    assert (response.status_code, body["code"]) == (status, code), response.text
    assert body.keys() == {"code", "message", "next_step", "request_id"}
    assert all(body.values())
    return body
