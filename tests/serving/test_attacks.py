"""A hostile client on a raw socket, against a real server: it gets refusals, others get answers, the log gets none of its words."""

from __future__ import annotations

import json
import os
import pickle
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from serving.client import EndpointClient
from serving.process import RunningEndpoint, serve_bento
from serving.settings import EndpointSettings

pytestmark = pytest.mark.slow

WORD = b"secret-word"
_TIMEOUT_SECONDS = 3.0


@dataclass(frozen=True)
class Target:
    running: RunningEndpoint
    port: int
    folder: Path
    image: bytes

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def send(self, data: bytes) -> bytes:
        """Sends raw bytes and returns the first answer."""
        with self.connect() as connection:
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(data)
            return read_answer(connection)

    def serves_others(self) -> bool:
        with EndpointClient(self.running.url, timeout_seconds=10) as client:
            return len(client.predict([self.image]).predictions) == 1

    def worker(self) -> psutil.Process:
        return psutil.Process(self.running.pid).children(recursive=True)[-1]


def read_answer(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65_536)
    except ConnectionResetError:
        return b""


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer else 0


def post(path: str = "/predict", body: bytes = b"", *headers: bytes) -> bytes:
    lines = [f"POST {path} HTTP/1.1".encode(), b"Host: x", *headers]
    if not any(header.lower().startswith((b"content-length", b"transfer-encoding")) for header in headers):
        lines.append(f"Content-Length: {len(body)}".encode())
    return b"\r\n".join([*lines, b"", body])


@pytest.fixture(scope="module")
def target(built: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    folder = tmp_path_factory.mktemp("target")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = EndpointSettings(
        log_dir=folder / "log", raw_dir=folder / "raw", sample_raw_frac=1, max_request_mb=2, timeout_seconds=_TIMEOUT_SECONDS, threads=1
    )
    golden = next((built.path / "src" / "bundle" / "goldens").iterdir()).read_bytes()
    with serve_bento(built.path, "127.0.0.1", port, settings, folder / "server.log") as running:
        yield Target(running, port, folder, golden)
        log = (folder / "server.log").read_bytes()
        assert WORD not in log
        assert b"Traceback" not in log


class _Touch:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("path", ["/predict", "/feedback", "/", "/RegraftService/predict"])
@pytest.mark.parametrize(
    "headers",
    [
        [b"Content-Type: application/vnd.bentoml+pickle"],
        [b"Content-Type: application/vnd.bentoml.multi-payloads", b"Args-Number: 1", b"Payload-Container: NdarrayContainer"],
        [b"Content-Type: application/json", b"Payload-Container: DefaultContainer", b'Payload-Meta: {"pickle_bytes_str": "x"}'],
    ],
)
def test_a_pickle_is_never_loaded(target: Target, path: str, headers: list[bytes]) -> None:
    planted = target.folder / "planted"
    assert status(target.send(post(path, pickle.dumps(_Touch(str(planted))), *headers))) in (400, 404, 415)
    assert not planted.exists()


def test_no_address_is_ever_fetched(target: Target) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(0.5)
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/x.png".encode()
        form = b'--x\r\nContent-Disposition: form-data; name="images"%s\r\n\r\n' + address + b"\r\n--x--\r\n"
        for name in (b"", b'; filename="' + address + b'"'):
            assert status(target.send(post("/predict", form % name, b"Content-Type: multipart/form-data; boundary=x"))) in (400, 422)
        body = json.dumps({"images": [{"content_base64": address.decode()}]}).encode()
        assert status(target.send(post("/predict", body, b"Content-Type: application/json"))) == 422
        with pytest.raises(TimeoutError, match="timed out"):
            listener.accept()


def test_a_name_never_becomes_a_path(target: Target) -> None:
    disposition = b'Content-Disposition: form-data; name="images"; filename="../../../' + WORD + b'"'
    body = b"--x\r\n" + disposition + b"\r\n\r\n" + target.image + b"\r\n--x--\r\n"
    assert status(target.send(post("/predict", body, b"Content-Type: multipart/form-data; boundary=x"))) == 200
    names = [path.name for path in target.folder.parent.rglob("*")]
    assert not [name for name in names if WORD.decode() in name]
    assert {len(path.name) for path in (target.folder / "raw").iterdir()} == {64}


@pytest.mark.parametrize("path", ["/../../../etc/passwd", "/static_content/..%2f..%2fetc/passwd", "/%2e%2e/x", "/model%00", "//evil/model"])
def test_paths_do_not_leave_the_routes(target: Target, path: str) -> None:
    answer = target.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert status(answer) in (400, 404)
    assert b"root:" not in answer


def test_a_body_without_end_is_refused_while_it_arrives(target: Target) -> None:
    before = target.worker().memory_info().rss
    with target.connect() as connection:
        connection.sendall(post("/predict", b"", b"Content-Type: application/json", b"Transfer-Encoding: chunked"))
        chunk = b"%x\r\n" % 100_000 + bytes(100_000) + b"\r\n"
        for _ in range(21):
            connection.sendall(chunk)
        assert status(read_answer(connection)) == 413
    assert target.worker().memory_info().rss - before < 50_000_000
    assert target.serves_others()


def test_a_declared_size_is_refused_before_it_is_sent(target: Target) -> None:
    request = post("/predict", b"", b"Content-Type: application/json", b"Content-Length: 99999999999", b"Expect: 100-continue")
    assert status(target.send(request)) == 413


def test_a_client_that_sends_too_much_can_read_why(target: Target) -> None:
    with httpx.Client(trust_env=False) as client:
        for _ in range(5):
            response = client.post(f"{target.running.url}/predict", files=[("images", ("a", bytes(30_000_000)))])
            assert (response.status_code, response.json()["code"]) == (413, "too_large")


def test_a_slow_body_is_ended(target: Target) -> None:
    with target.connect() as connection:
        connection.sendall(post("/predict", b"{", b"Content-Type: application/json", b"Content-Length: 1000"))
        started = time.monotonic()
        assert status(read_answer(connection)) == 408
        assert _TIMEOUT_SECONDS - 0.5 < time.monotonic() - started < _TIMEOUT_SECONDS + 3


def test_many_slow_clients_do_not_stop_others(target: Target) -> None:
    with ExitStack() as stack:
        for index in range(200):
            connection = stack.enter_context(target.connect())
            # Half of them never finish their headers, half never their body.
            connection.sendall(
                b"POST /predict HTTP/1.1\r\nHost: x\r\nX-A: " if index % 2 else post("/predict", b"", b"Content-Length: 1000")
            )
        started = time.monotonic()
        assert target.serves_others()
        assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    "headers",
    [
        [b"Content-Length: 5", b"Transfer-Encoding: chunked"],
        [b"Content-Length: 5", b"Content-Length: 6"],
        [b"Content-Length: -5"],
        [b"Transfer-Encoding: chunked, identity"],
    ],
)
def test_two_readings_of_a_length_are_refused(target: Target, headers: list[bytes]) -> None:
    answer = target.send(post("/feedback", b"0\r\n\r\nGET /model HTTP/1.1\r\nHost: x\r\n\r\n", b"Content-Type: application/json", *headers))
    assert status(answer) == 400
    assert b"bundle" not in answer


def test_large_headers_are_refused(target: Target) -> None:
    assert status(target.send(b"GET /model HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * 40_000 + b"\r\n\r\n")) in (400, 431)


@pytest.mark.parametrize(
    ("start", "more"),
    [
        (b"GET /", b"a" * 100_000),
        (b"GET /model HTTP/1.1\r\nHost: x\r\nX-A: ", b"a" * 100_000),
        (b"GET /model HTTP/1.1\r\nHost: x\r\n", b"a: b\r\n" * 20_000),
        (b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"a" * 100_000),
    ],
)
def test_headers_without_end_do_not_fill_the_memory(target: Target, start: bytes, more: bytes) -> None:
    before = target.worker().memory_info().rss
    with target.connect() as connection:
        connection.sendall(start)
        with suppress(BrokenPipeError, ConnectionResetError):
            for _ in range(300):
                connection.sendall(more)
            pytest.fail("30 MB of headers were taken")
    assert target.worker().memory_info().rss - before < 20_000_000


def test_words_of_the_client_do_not_reach_the_log(target: Target) -> None:
    for request in (
        b"GET /" + WORD + b"%0a2026-11-21 [INFO] " + WORD + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /model HTTP/1.1\r\nHost: x\r\nUser-Agent: " + WORD + b"\r\nContent-Type: \xff" + WORD + b"\r\n\r\n",
        b"GET /model HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Key: " + WORD + b"\r\n\r\n",
        WORD + b" nonsense\r\n\r\n",
        post("/predict", b'{"' + WORD + b'": 1}', b"Content-Type: application/json"),
        post("/predict", b"--" + WORD, b"Content-Type: multipart/form-data; boundary=x"),
        post("/predict", b"--x\r\n" + WORD + b"\x00: b\r\n\r\n", b"Content-Type: multipart/form-data; boundary=x"),
        post("/predict?" + WORD.decode(), WORD, b"Content-Type: " + WORD),
        b"GET /model HTTP/1.1\r\nHost: x\r\ntraceparent: " + WORD + b"\r\nbaggage: " + WORD + b"\r\n\r\n",
    ):
        answer = target.send(request)
        assert status(answer) in (200, 400, 404, 415, 426), answer
        assert WORD not in answer


def test_it_serves_after_all_this(target: Target) -> None:
    assert target.serves_others()
    assert len(target.worker().open_files()) < 50
