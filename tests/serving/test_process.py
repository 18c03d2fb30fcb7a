"""Real server processes: start, swap under traffic, refusal, kill, stop."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from pipelines.core.errors import ConfigurationError, IntegrityError, RegraftError
from pipelines.core.request_log import read_requests
from serving.client import EndpointClient, EndpointError
from serving.pointer import write_pointer
from serving.process import refuse_port_in_use, serve_bento
from serving.schemas import Feedback
from serving.settings import EndpointSettings
from serving.source_digest import source_digest
from serving.verify import verify_endpoint

pytestmark = pytest.mark.slow


class Traffic:
    """Clients that send one request after the other, each in its own thread, and note every answer and every failure."""

    def __init__(self, url: str, image: bytes, n_clients: int = 2) -> None:
        self.bundles: list[str] = []
        self.ids: list[str] = []
        self.failures: list[Exception] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._send, args=(url, image)) for _ in range(n_clients)]

    def _send(self, url: str, image: bytes) -> None:
        with EndpointClient(url) as client:
            while not self._stop.is_set():
                try:
                    answer = client.predict([image])
                except RegraftError as error:
                    self.failures.append(error)
                    return
                self.bundles.append(answer.bundle)
                self.ids.append(answer.predictions[0].id)

    @contextmanager
    def running(self) -> Any:
        for thread in self._threads:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join()


def kill_all(pid: int) -> None:
    # The leader first: it would start its worker again.
    for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
        process.kill()


@pytest.fixture
def wait_until(helpers: dict[str, Callable[..., Any]]) -> Callable[..., Any]:
    return helpers["wait_until"]


def test_swap_under_traffic_loses_nothing(
    built: Any,
    bundle: Any,
    other_bundle: Any,
    damaged_bundle: Any,
    tmp_path: Path,
    free_port: int,
    small_images: list[bytes],
    wait_until: Any,
) -> None:
    pointer, log_dir = tmp_path / "pointer.json", tmp_path / "log"
    write_pointer(pointer, bundle.id, bundle.path)
    settings = EndpointSettings(pointer=pointer, log_dir=log_dir, poll_seconds=0.1)
    with (
        serve_bento(built.path, "127.0.0.1", free_port, settings, tmp_path / "server.log") as running,
        EndpointClient(running.url) as client,
    ):
        traffic = Traffic(running.url, small_images[0])
        with traffic.running():
            for target in (other_bundle, bundle, other_bundle, bundle):
                write_pointer(pointer, target.id, target.path)
                wait_until(lambda target=target: bool(traffic.failures) or client.model().bundle == target.id)
            write_pointer(pointer, damaged_bundle.id, damaged_bundle.path)
            wait_until(lambda: client.model().refused is not None)
            n_before = len(traffic.ids)
            wait_until(lambda: len(traffic.ids) > n_before + 20)
        refused = client.model().refused
        assert refused is not None
        assert "weights.safetensors changed" in refused.reason
        assert client.model().bundle == bundle.id
        assert verify_endpoint(running.url, bundle.path).worst_difference < 1e-6
    assert traffic.failures == []
    counts = Counter(traffic.bundles)
    assert set(counts) == {bundle.id, other_bundle.id}
    assert traffic.bundles[-1] == bundle.id
    logged = {record["request_id"]: record["bundle"] for record in read_requests(log_dir)}
    assert [logged.get(identity) for identity in traffic.ids] == traffic.bundles
    assert len(logged) == len(traffic.ids)
    assert (tmp_path / "server.log").read_text().count("refused bundle") == 1


def test_kill_leaves_every_answered_request_in_a_readable_log(
    built: Any, bundle: Any, tmp_path: Path, free_port: int, small_images: list[bytes], wait_until: Any
) -> None:
    settings = EndpointSettings(log_dir=tmp_path / "log")
    with serve_bento(built.path, "127.0.0.1", free_port, settings, tmp_path / "server.log") as running:
        traffic = Traffic(running.url, small_images[0])
        with traffic.running():
            wait_until(lambda: len(traffic.ids) > 30)
            kill_all(running.pid)
            wait_until(lambda: len(traffic.failures) == 2)
        assert not running.is_running()
    logged = {record["request_id"] for record in read_requests(tmp_path / "log")}
    assert set(traffic.ids) <= logged
    # At most one request of each client was logged and not answered any more.
    assert len(logged) <= len(traffic.ids) + 2


def test_sigterm_finishes_the_requests_under_way(built: Any, tmp_path: Path, free_port: int, helpers: Any) -> None:
    from PIL import Image

    slow = helpers["encoded"](Image.effect_mandelbrot((1_950, 2_000), (-3, -2.5, 2, 2.5), 100).convert("RGB"))
    settings = EndpointSettings(threads=1)
    answers: list[int] = []
    with serve_bento(built.path, "127.0.0.1", free_port, settings, tmp_path / "server.log") as running:

        def send() -> None:
            with EndpointClient(running.url) as client:
                answers.append(len(client.predict([slow] * 20).predictions))

        sender = threading.Thread(target=send)
        sender.start()
        time.sleep(0.3)
        os.kill(running.pid, signal.SIGTERM)
        sender.join()
        assert running.wait() == 0
    assert answers == [20]


def test_nothing_is_left_behind(built: Any, bundle: Any, tmp_path: Path, free_port: int) -> None:
    with serve_bento(built.path, "127.0.0.1", free_port, EndpointSettings(), tmp_path / "server.log") as running:
        family = [psutil.Process(running.pid), *psutil.Process(running.pid).children(recursive=True)]
        assert len(family) >= 2
        before = sorted(built.path.rglob("*"))
        with EndpointClient(running.url) as client:
            assert client.model().bundle == bundle.id, "without a pointer the packaged bundle serves"
            with pytest.raises(EndpointError, match="503 not_logged"):
                client.feedback([Feedback(id="a" * 32, label="owl")])
    assert sorted(built.path.rglob("*")) == before, "serving must not write into the Bento"
    assert not [process for process in family if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
    refuse_port_in_use("127.0.0.1", free_port)


def test_a_worker_that_outlives_its_leader_is_ended_too(built: Any, tmp_path: Path, free_port: int) -> None:
    with serve_bento(built.path, "127.0.0.1", free_port, EndpointSettings(), tmp_path / "server.log") as running:
        worker = psutil.Process(running.pid).children(recursive=True)[-1]
        os.kill(running.pid, signal.SIGKILL)
        running.wait()
        assert worker.is_running()
    assert not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE
    refuse_port_in_use("127.0.0.1", free_port)


def test_a_worker_that_is_killed_is_started_again(
    built: Any, bundle: Any, tmp_path: Path, free_port: int, small_images: list[bytes], wait_until: Any
) -> None:
    with (
        serve_bento(built.path, "127.0.0.1", free_port, EndpointSettings(), tmp_path / "server.log") as running,
        EndpointClient(running.url) as client,
    ):
        psutil.Process(running.pid).children(recursive=True)[-1].kill()
        wait_until(client.is_ready, 90)
        assert client.predict(small_images).bundle == bundle.id


def test_the_bentos_own_code_answers(built: Any, tmp_path: Path, free_port: int) -> None:
    copy = tmp_path / "bento"
    shutil.copytree(built.path, copy)
    with (copy / "src/pipelines/core/heads.py").open("a") as file:
        file.write("\n# changed in the Bento only\n")
    with serve_bento(copy, "127.0.0.1", free_port, EndpointSettings(), tmp_path / "server.log") as running:
        with EndpointClient(running.url) as client:
            assert client.model().code_digest == source_digest(copy / "src") != built.code_digest
        worker = psutil.Process(running.pid).children(recursive=True)[-1]
        assert not {"AWS_SECRET_ACCESS_KEY", "PYTHONPATH"} & set(worker.environ())


def test_secrets_do_not_reach_the_server(built: Any, tmp_path: Path, free_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "planted")
    monkeypatch.setenv("REGRAFT_MAX_REQUEST_MB", "wrong on purpose")
    with serve_bento(built.path, "127.0.0.1", free_port, EndpointSettings(), tmp_path / "server.log") as running:
        for process in psutil.Process(running.pid).children(recursive=True):
            assert "AWS_SECRET_ACCESS_KEY" not in process.environ()


def test_a_port_in_use_is_said_before_anything_starts(built: Any, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        log = tmp_path / "server.log"
        with (
            pytest.raises(ConfigurationError, match=rf"port {port} on 127.0.0.1, which cannot be used \(Address already in use\).*--port"),
            serve_bento(built.path, "127.0.0.1", port, EndpointSettings(), log),
        ):
            pass
    assert not log.exists()


def test_a_refused_bundle_ends_the_start_with_its_reason(built: Any, damaged_bundle: Any, tmp_path: Path, free_port: int) -> None:
    pointer = tmp_path / "pointer.json"
    write_pointer(pointer, damaged_bundle.id, damaged_bundle.path)
    with (
        pytest.raises(IntegrityError, match=f"refused bundle {damaged_bundle.id}: .*weights.safetensors changed"),
        serve_bento(built.path, "127.0.0.1", free_port, EndpointSettings(pointer=pointer), tmp_path / "server.log"),
    ):
        pass
    refuse_port_in_use("127.0.0.1", free_port)


def test_a_server_that_ends_is_said_with_the_end_of_its_log(tmp_path: Path, free_port: int) -> None:
    (tmp_path / "empty").mkdir()
    with (
        pytest.raises(RegraftError, match=r"a server that ended with status \d+\. The end of its output: .*empty"),
        serve_bento(tmp_path / "empty", "127.0.0.1", free_port, EndpointSettings(), tmp_path / "server.log"),
    ):
        pass


def test_two_servers_do_not_disturb_each_other(built: Any, bundle: Any, tmp_path: Path, free_port: int, small_images: list[bytes]) -> None:
    with (
        serve_bento(built.path, "127.0.0.1", free_port, EndpointSettings(), tmp_path / "one.log") as one,
        EndpointClient(one.url) as client,
    ):
        client.predict(small_images)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            second_port = probe.getsockname()[1]
        with serve_bento(built.path, "127.0.0.1", second_port, EndpointSettings(), tmp_path / "two.log"):
            client.predict(small_images)
        metrics = httpx.get(f"{one.url}/metrics", trust_env=False).text
        assert f'regraft_predictions_total{{bundle="{bundle.id}"}} 6.0' in metrics
