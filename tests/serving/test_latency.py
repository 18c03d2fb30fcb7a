"""Times of real requests to a real endpoint, and what a request that fails leaves behind."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain, cycle
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from pipelines.core.errors import IntegrityError
from pipelines.core.request_log import CHECK_DOMAIN, read_requests
from serving.app import build_app
from serving.endpoint import Endpoint
from serving.latency import N_WARM_UP, measure_latency

_DELAY_SECONDS = 0.05


@contextmanager
def listening(app: Callable[..., Any]) -> Iterator[str]:
    with socket.socket() as listener, ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        server = uvicorn.Server(uvicorn.Config(app, log_config=None))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        stack.callback(thread.join)
        stack.callback(setattr, server, "should_exit", True)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture(scope="module")
def log_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("log")


@pytest.fixture(scope="module")
def endpoint(bundle: Any, log_dir: Path) -> Iterator[Endpoint]:
    from serving.settings import EndpointSettings

    endpoint = Endpoint(EndpointSettings(log_dir=log_dir), bundle.path)
    endpoint.start()
    while endpoint.slot.current is None:
        time.sleep(0.01)
    yield endpoint
    endpoint.stop()


@pytest.fixture(scope="module")
def url(endpoint: Endpoint) -> Iterator[str]:
    with listening(build_app(lambda: endpoint)) as url:
        yield url


def test_each_request_is_timed_after_the_warm_up_and_none_counts_as_traffic(url: str, log_dir: Path, small_images: list[bytes]) -> None:
    sent = []

    def images() -> Iterator[bytes]:
        for image in cycle(small_images):
            sent.append(image)
            yield image

    found = measure_latency(url, images(), 30)
    assert (len(found.milliseconds), found.n_warm_up, found.failure) == (30, N_WARM_UP, None)
    assert all(0 < value < 60_000 for value in found.milliseconds)
    assert len(sent) == 30 + N_WARM_UP
    assert sent[:4] == [*small_images, small_images[0]]
    text = "".join(path.read_text() for path in log_dir.rglob("*") if path.is_file())
    assert text.count(CHECK_DOMAIN) == len(sent)
    assert list(read_requests(log_dir)) == []


def test_a_slow_endpoint_is_seen_as_slow(endpoint: Endpoint, small_images: list[bytes]) -> None:
    app = build_app(lambda: endpoint)

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await asyncio.sleep(_DELAY_SECONDS)
        await app(scope, receive, send)

    with listening(slow) as url:
        found = measure_latency(url, cycle(small_images), 5, n_warm_up=1)
    assert min(found.milliseconds) >= 1000 * _DELAY_SECONDS


@pytest.mark.parametrize(("n_before", "n_timed"), [(3, 0), (N_WARM_UP + 3, 3)])
def test_a_request_that_fails_ends_the_measurement(url: str, small_images: list[bytes], n_before: int, n_timed: int) -> None:
    images = chain((small_images[0] for _ in range(n_before)), [b"no image"], cycle(small_images))
    found = measure_latency(url, images, 30)
    assert found.failure is not None
    assert found.failure.startswith("422 ")
    assert len(found.milliseconds) == n_timed


def test_an_endpoint_that_is_gone_is_a_failure(small_images: list[bytes]) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    found = measure_latency(f"http://127.0.0.1:{port}", cycle(small_images), 5)
    assert found.failure is not None
    assert "no answer" in found.failure


def test_a_sample_that_cannot_be_read_is_no_failure_of_the_endpoint(url: str) -> None:
    def images() -> Iterator[bytes]:
        raise IntegrityError(got="a file that changed.", allowed="files that stay.", next_step="run it again.")
        yield b""

    with pytest.raises(IntegrityError, match="a file that changed"):
        measure_latency(url, images(), 5)
