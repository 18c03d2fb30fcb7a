"""A real server process with a model of texts: the Bento, its goldens, its times, and a hostile client on a raw socket."""

from __future__ import annotations

import itertools
import json
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipelines.core.predict import read_goldens
from pipelines.core.request_log import read_requests
from serving.client import EndpointClient, EndpointError
from serving.latency import measure_latency
from serving.process import RunningEndpoint, serve_bento
from serving.settings import EndpointSettings
from serving.verify import verify_endpoint

pytestmark = pytest.mark.slow

WORD = b"secretword"


@dataclass(frozen=True)
class Target:
    running: RunningEndpoint
    port: int
    folder: Path

    def post(self, body: bytes, content_type: bytes = b"application/json") -> tuple[int, dict[str, Any]]:
        lines = [b"POST /predict HTTP/1.1", b"Host: x", b"Content-Type: " + content_type, b"Content-Length: %d" % len(body)]
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(b"\r\n".join([*lines, b"Connection: close", b"", body]))
            answer = b"".join(iter(lambda: connection.recv(65_536), b""))
        assert WORD not in answer
        return int(answer.split(b" ", 2)[1]), json.loads(answer.partition(b"\r\n\r\n")[2])

    def worker(self) -> psutil.Process:
        return psutil.Process(self.running.pid).children(recursive=True)[-1]


@pytest.fixture(scope="module")
def target(built_text: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    folder = tmp_path_factory.mktemp("text-target")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = EndpointSettings(log_dir=folder / "log", threads=1, max_request_characters=100_000)
    with serve_bento(built_text.path, "127.0.0.1", port, settings, folder / "server.log") as running:
        yield Target(running, port, folder)
    log = (folder / "server.log").read_bytes()
    assert WORD not in log
    assert b"Traceback" not in log


def test_its_libraries_are_those_of_texts(built_text: Any) -> None:
    lines = (built_text.path / "env" / "python" / "requirements.txt").read_text().split()
    names = {line.partition("==")[0] for line in lines}
    assert {"tokenizers", "transformers"} <= names
    assert "timm" not in names


def test_it_answers_its_goldens_and_times_them(target: Target, text_bundle: Any) -> None:
    found = verify_endpoint(target.running.url, text_bundle.path)
    assert (found.bundle, found.n) == (text_bundle.id, 3)
    assert found.worst_difference <= 1e-4
    texts = itertools.cycle(data for _, data in read_goldens(text_bundle.path))
    measured = measure_latency(target.running.url, texts, 20, "text", n_warm_up=3)
    assert (len(measured.milliseconds), measured.failure) == (20, None)
    assert list(read_requests(target.folder / "log")) == []


def test_the_client_sends_texts_and_bad_bytes_are_refused_by_the_endpoint(target: Target) -> None:
    with EndpointClient(target.running.url) as client:
        answer = client.predict(["great \N{OWL}".encode(), b"dull"], "shop-2", "text")
        assert len(answer.predictions) == 2
        assert client.model().takes == "texts"
        with pytest.raises(EndpointError, match=r"422 wrong_unicode: .*texts\[1\]"):
            client.predict([b"fine", b"caf\xe9"], kind="text")
        with pytest.raises(EndpointError, match=r"422 wrong_kind: .*takes texts"):
            client.predict([b"an image"])
    record = list(read_requests(target.folder / "log"))[-1]
    assert (record["domain"], record["raw_sha256"]) == ("shop-2", None)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b'{"texts": [""]}', 422, "bad_text"),
        (b'{"texts": ["' + WORD + b'", " "]}', 422, "bad_text"),
        (b'{"texts": ["\\u0000\\u001b"]}', 422, "bad_text"),
        (b'{"texts": ["\\ud83e"]}', 422, "wrong_unicode"),
        (b'{"texts": ["' + WORD + b'\xff"]}', 400, "wrong_json"),
        (b'{"texts": ["' + WORD + b'\x00"]}', 400, "wrong_json"),
        (b'{"texts": ' + b"[" * 1_000_000, 400, "wrong_json"),
        (b'{"texts": [' + b'{"a":' * 500_000, 400, "wrong_json"),
        (b'{"texts": ["' + b"x" * 10_000_000 + b'"]}', 422, "too_many_characters"),
        (b'{"texts": ["' + b"x" * 20_000_000 + b'"]}', 413, "too_large"),
        (b'{"texts": [' + b'"a",' * 100 + b'"a"]}', 413, "too_large"),
        (b'{"images": [{"content_base64": "YQ=="}]}', 422, "wrong_kind"),
    ],
)
def test_bad_input_is_refused_at_once_and_costs_no_memory(target: Target, body: bytes, status: int, code: str) -> None:
    before = target.worker().memory_info().rss
    started = time.monotonic()
    answered, content = target.post(body)
    assert (answered, content["code"]) == (status, code), content
    assert content["message"]
    assert content["next_step"]
    assert time.monotonic() - started < 5
    assert target.worker().memory_info().rss - before < 150_000_000


def test_a_form_is_told_what_is_taken(target: Target) -> None:
    form = b'--x\r\nContent-Disposition: form-data; name="texts"\r\n\r\n' + WORD + b"\r\n--x--\r\n"
    assert target.post(form, b"multipart/form-data; boundary=x")[1]["code"] == "wrong_kind"


def test_it_serves_after_all_this(target: Target) -> None:
    assert target.post(b'{"texts": ["a great story"]}')[0] == 200
