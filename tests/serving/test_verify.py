"""Goldens over real HTTP, the client, and the faults that verification must find."""

from __future__ import annotations

import json
import pickle
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from pipelines.core.errors import ConfigurationError, RefusedError
from serving.app import build_app
from serving.client import EndpointClient, EndpointError
from serving.endpoint import Endpoint
from serving.schemas import Feedback
from serving.verify import verify_endpoint


@contextmanager
def listening(endpoint: Endpoint) -> Iterator[str]:
    with socket.socket() as listener, ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen()  # a client that comes before uvicorn does waits in the queue
        server = uvicorn.Server(uvicorn.Config(build_app(lambda: endpoint), log_config=None))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        stack.callback(thread.join)
        stack.callback(setattr, server, "should_exit", True)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture(scope="module")
def log_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("log")


@pytest.fixture(scope="module")
def url(bundle: Any, log_dir: Path) -> Iterator[str]:
    from serving.settings import EndpointSettings

    endpoint = Endpoint(EndpointSettings(log_dir=log_dir), bundle.path)
    endpoint.start()
    while endpoint.slot.current is None:
        time.sleep(0.01)
    with listening(endpoint) as url:
        yield url
    endpoint.stop()


@pytest.fixture
def altered(bundle: Any, tmp_path: Path) -> Callable[[Callable[[list[dict[str, Any]]], None]], Path]:
    def alter(change: Callable[[list[dict[str, Any]]], None]) -> Path:
        shutil.copytree(bundle.path, tmp_path / "altered")
        file = tmp_path / "altered" / "goldens.json"
        goldens = json.loads(file.read_bytes())
        change(goldens)
        file.write_text(json.dumps(goldens))
        return tmp_path / "altered"

    return alter


def test_the_right_endpoint_passes_and_is_not_counted_as_traffic(url: str, bundle: Any, log_dir: Path) -> None:
    from pipelines.core.request_log import read_requests

    before = len(list(read_requests(log_dir)))
    check = verify_endpoint(url, bundle.path)
    assert (check.n, check.bundle) == (5, bundle.id)
    assert 0 <= check.worst_difference < 1e-6
    assert len(list(read_requests(log_dir))) == before


def test_another_bundle_is_refused(url: str, other_bundle: Any, bundle: Any) -> None:
    with pytest.raises(RefusedError, match=f"gives an answer of bundle {bundle.id}. Allowed: answers of bundle {other_bundle.id}"):
        verify_endpoint(url, other_bundle.path)


def test_an_altered_probability_is_refused(url: str, altered: Any) -> None:
    def change(goldens: list[dict[str, Any]]) -> None:
        goldens[3]["probabilities"][0] += 2e-4

    with pytest.raises(RefusedError, match=r"differs by 0\.0002.*within 0\.0001"):
        verify_endpoint(url, altered(change))


def test_an_altered_label_is_refused(url: str, altered: Any) -> None:
    def change(goldens: list[dict[str, Any]]) -> None:
        goldens[0]["label"] = "cat" if goldens[0]["label"] != "cat" else "dog"

    with pytest.raises(RefusedError, match=r"gives the answer '\w+' for golden"):
        verify_endpoint(url, altered(change))


def test_the_client_predicts_and_gives_feedback(url: str, bundle: Any, small_images: list[bytes]) -> None:
    with EndpointClient(url) as client:
        answer = client.predict(small_images, domain="scanner-2")
        assert len(answer.predictions) == 3
        taken = client.feedback([Feedback(id=one.id, label="owl") for one in answer.predictions])
        assert (taken.n_accepted, taken.bundle, client.model().bundle) == (3, bundle.id, bundle.id)


def test_a_failure_answer_is_an_error_that_says_it(url: str) -> None:
    with EndpointClient(url) as client, pytest.raises(EndpointError, match="422 bad_image: 1 of 1 images cannot be used") as caught:
        client.predict([b"no image"])
    assert (caught.value.status, caught.value.failure_code, caught.value.exit_code) == (422, "bad_image", 4)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)  # noqa: S301 - our own bytes; errors cross processes


def test_no_endpoint_is_a_configuration_error() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, but nobody listens
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with EndpointClient(url) as client:
            assert not client.is_ready()
            with pytest.raises(ConfigurationError, match=r"no answer from http://127.0.0.1:\d+/model .*regraft serve"):
                client.model()
