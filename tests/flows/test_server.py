from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import psutil
import pytest

from flows.background import is_alive, write_record
from flows.environment import API_URL, apply_environment
from flows.server import _environment, prefect_server, running_server, start_server, stop_server
from flows.server_record import ServerRecord, record_path, recorded_server
from flows.worker import prefect_worker, start_worker
from pipelines.core.errors import ConfigurationError, RegraftError
from pipelines.workspace import Workspace
from tests.flows.conftest import Stack, make_workspace

pytestmark = pytest.mark.usefixtures("clean_environment")


class _AlwaysHealthy(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"true")

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def somebody_elses_port() -> Iterator[int]:
    """A server that answers as Prefect's does, and is not ours."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _AlwaysHealthy)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def this_process(port: int, age_seconds: float = 0) -> ServerRecord:
    return ServerRecord(pid=os.getpid(), created_at=psutil.Process().create_time() - age_seconds, port=port)


def test_a_port_in_use_is_refused_before_anything_starts(workspace: Workspace, somebody_elses_port: int) -> None:
    message = rf"port {somebody_elses_port} for the Prefect server: .*in use.*give another port, or leave it out"
    with pytest.raises(ConfigurationError, match=message):
        start_server(workspace, somebody_elses_port)
    assert not (workspace.logs / "prefect-server.log").exists()


@pytest.mark.parametrize("port", [70_000, -1])
def test_a_number_that_is_no_port_is_refused(workspace: Workspace, port: int) -> None:
    with pytest.raises(ConfigurationError, match=rf"port {port} .*1 to 65535"):
        start_server(workspace, port)


def test_no_server_runs_where_none_was_started(workspace: Workspace) -> None:
    assert running_server(workspace) is None
    assert stop_server(workspace) is False


def test_somebody_elses_server_on_the_port_is_not_taken_for_ours(workspace: Workspace, somebody_elses_port: int) -> None:
    write_record(record_path(workspace), this_process(somebody_elses_port, age_seconds=60))
    assert running_server(workspace) is None
    assert stop_server(workspace) is False, "that would have stopped another program"
    assert not record_path(workspace).exists()


def test_a_server_that_runs_and_answers_is_found(workspace: Workspace, somebody_elses_port: int) -> None:
    write_record(record_path(workspace), this_process(somebody_elses_port))
    server = running_server(workspace)
    assert server is not None
    assert (server.url, server.pid) == (f"http://127.0.0.1:{somebody_elses_port}/api", os.getpid())


def test_a_server_that_runs_but_does_not_answer_is_not_started_twice(workspace: Workspace) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        write_record(record_path(workspace), this_process(silent.getsockname()[1]))
        assert running_server(workspace, answer_seconds=0.1) is None
        assert recorded_server(workspace) is not None
        with pytest.raises(RegraftError, match=r"runs but has not answered for 0\.3 s.*stop the process"):
            start_server(workspace, deadline_seconds=0.3)


def test_an_own_server_is_not_started_beside_the_one_that_the_user_named(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(API_URL, "http://prefect.example/api")
    message = r"PREFECT_API_URL=http://prefect\.example/api.*unset PREFECT_API_URL"
    with pytest.raises(ConfigurationError, match=message), prefect_server(workspace):
        pytest.fail("it was started")


def test_after_a_crash_the_address_is_the_same_if_it_is_free(workspace: Workspace, somebody_elses_port: int) -> None:
    from flows.server import _free_port, _port_as_before

    free = _free_port()
    write_record(record_path(workspace), this_process(free, age_seconds=60))
    assert _port_as_before(workspace) == free
    write_record(record_path(workspace), this_process(somebody_elses_port, age_seconds=60))
    assert _port_as_before(workspace) != somebody_elses_port


@pytest.mark.slow
def test_a_server_that_cannot_start_shows_the_end_of_its_log(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_SERVER_DATABASE_CONNECTION_URL", "nonsense://")
    message = r"(?s)Prefect server that ended after \d+ s; the end of its log:.*nonsense.*prefect-server\.log"
    with pytest.raises(RegraftError, match=message):
        start_server(workspace)
    assert recorded_server(workspace) is None


@pytest.mark.slow
def test_a_start_that_takes_too_long_leaves_no_process(workspace: Workspace) -> None:
    with pytest.raises(RegraftError, match=r"does not answer after 1 s"):
        start_server(workspace, deadline_seconds=1)
    folder = str(workspace.root)
    assert [item for item in psutil.process_iter(["cwd"]) if item.info["cwd"] == folder] == []


@pytest.mark.slow
def test_starting_again_finds_the_same_server(stack: Stack) -> None:
    again = start_server(stack.workspace)
    assert again == stack.server == running_server(stack.workspace)
    with pytest.raises(ConfigurationError, match=r"port 4711, while this workspace's Prefect server runs on port \d+"):
        start_server(stack.workspace, 4711)
    with prefect_server(stack.workspace) as inside:
        assert inside == stack.server
    assert running_server(stack.workspace) == stack.server, "the block stopped a server that it had not started"
    assert start_worker(stack.workspace, stack.deployments.pool) == stack.worker
    with prefect_worker(stack.workspace, stack.deployments.pool) as worker:
        assert worker == stack.worker
    assert psutil.pid_exists(stack.worker.pid)


@pytest.mark.slow
def test_two_workspaces_do_not_see_each_others_data(stack: Stack, tmp_path: Path) -> None:
    from prefect.client.orchestration import get_client

    def deployments() -> list[str]:
        with get_client(sync_client=True) as client:
            return sorted(item.name for item in client.read_deployments())

    other = make_workspace(tmp_path / "other")
    before = deployments()  # other tests of this server may have left some too
    assert "toy" in before
    with prefect_server(other, progress=_Steps()) as server:
        assert server.url != stack.server.url
        assert os.environ[API_URL] == server.url
        assert deployments() == []
        apply_environment(stack.workspace)
        assert deployments() == before
        record = recorded_server(other)
    assert record is not None
    assert not is_alive(record)
    assert running_server(other) is None
    assert API_URL not in os.environ
    assert (other.prefect_home / "prefect.db").is_file()


@pytest.mark.slow
def test_the_page_loads_and_the_server_listens_on_the_loopback_interface_only(stack: Stack) -> None:
    page = httpx.get(stack.server.ui_url, follow_redirects=True, trust_env=False)
    assert page.status_code == 200
    assert "Prefect" in page.text
    sockets = psutil.Process(stack.server.pid).net_connections(kind="inet")
    assert {item.laddr.ip for item in sockets if item.status == psutil.CONN_LISTEN} == {"127.0.0.1"}


@pytest.mark.slow
def test_a_worker_without_a_server_is_refused(workspace: Workspace) -> None:
    apply_environment(workspace)
    with pytest.raises(ConfigurationError, match=r"no Prefect server for the worker.*start the workspace's server first"):
        start_worker(workspace, "pool")


@pytest.mark.slow
def test_the_record_says_which_process_it_is(stack: Stack) -> None:
    record = json.loads(record_path(stack.workspace).read_bytes())
    assert record["pid"] == stack.server.pid
    assert abs(record["created_at"] - psutil.Process(record["pid"]).create_time()) < 2


class _Steps:
    """Checks that progress goes up and ends at its total."""

    def __init__(self) -> None:
        self.last = -1

    def __call__(self, activity: str, done: int, total: int) -> None:
        assert "server" in activity
        assert self.last < done <= total
        self.last = done


@pytest.mark.slow
def test_the_leases_of_slots_outlive_the_server(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Prefect itself reads the environment that the server is started with."""
    code = "from prefect.server.concurrency.lease_storage import get_concurrency_lease_storage as get; print(get().storage_path)"
    found = subprocess.run([sys.executable, "-c", code], env=_environment(workspace, 4200), capture_output=True, text=True, check=True)
    assert Path(found.stdout.strip()) == workspace.prefect_home / "concurrency_leases"
    name = "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE"
    monkeypatch.setenv(name, "a.storage.of.the.users")
    assert _environment(workspace, 4200)[name] == "a.storage.of.the.users"
