"""The workspace's own Prefect server: `prefect server start` on the loopback interface, with its SQLite file in the workspace."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from flows.background import LogPlace, is_alive, read_record, spawn, stop, write_record
from flows.environment import API_URL, apply_environment, environment_without_server, users_api_url
from flows.server_record import HOST, ServerRecord, record_path, recorded_server
from pipelines.core.errors import ConfigurationError, RegraftError
from pipelines.progress import Progress, silent
from pipelines.workspace import Workspace

START_DEADLINE_SECONDS = 120
_STOP_GRACE_SECONDS = 10.0
_ACTIVITY = "starting the Prefect server"
# Prefect keeps the leases of concurrency slots in the server's memory, and counts the slots in its database: after a restart nothing would
# ever give back those that were taken. As files the leases lie in Prefect's home, in `concurrency_leases`.
_LEASES_OUTLIVE_THE_SERVER = {"PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem"}


@dataclass(frozen=True)
class RunningServer:
    """A server that answers.

    Attributes:
        url: For Prefect's clients, ending in `/api`.
        ui_url: For a browser.
        pid: Of its process.
    """

    url: str
    ui_url: str
    pid: int


def start_server(
    workspace: Workspace, port: int | None = None, *, progress: Progress = silent, deadline_seconds: float = START_DEADLINE_SECONDS
) -> RunningServer:
    """Starts the workspace's server, or returns the one that runs; from then on `apply_environment` finds it.

    Args:
        workspace: Holds the database, the record and the log.
        port: On the loopback interface; None takes a free one, after a crash the same as before if it is free.
        progress: Told the seconds waited, of the deadline.
        deadline_seconds: How long it may take to answer; 9 to 22 s are usual.

    Raises:
        ConfigurationError: The port is in use, or the workspace's server runs on another one.
        RegraftError: It ended or did not answer in time; the end of its log is in the message.
    """
    from filelock import FileLock, Timeout

    workspace.prefect_home.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(workspace.prefect_home / "server.lock", timeout=deadline_seconds):
            return _find_or_start(workspace, port, progress, deadline_seconds)
    except Timeout as error:
        raise RegraftError(
            got=f"another command that has been starting this workspace's Prefect server for {deadline_seconds:g} s.",
            allowed="one start at a time.",
            next_step="wait for it to finish and run the command again.",
        ) from error


def running_server(workspace: Workspace, *, answer_seconds: float = 10.0) -> RunningServer | None:
    """The server that this workspace started, if that very process runs and answers.

    Args:
        workspace: Whose record is read.
        answer_seconds: How long a busy server may take to answer.
    """
    record = recorded_server(workspace)
    deadline = time.monotonic() + answer_seconds
    while record and is_alive(record):
        if _is_healthy(record):
            return _described(record)
        if time.monotonic() > deadline:
            return None
        time.sleep(0.25)
    return None


def stop_server(workspace: Workspace) -> bool:
    """Stops the server that this workspace started, in this command or an earlier one.

    Returns:
        Whether there was one. Servers that somebody else started are left alone.
    """
    record = read_record(record_path(workspace), ServerRecord)
    if record is None:
        return False
    was_alive = is_alive(record)
    stop(record, _STOP_GRACE_SECONDS)
    record_path(workspace).unlink(missing_ok=True)
    return was_alive


@contextmanager
def prefect_server(workspace: Workspace, port: int | None = None, *, progress: Progress = silent) -> Iterator[RunningServer]:
    """A server for the length of a `with` block, in which this process uses it.

    One that ran before stays as it was. See `start_server` for the arguments and errors.

    Raises:
        ConfigurationError: The user has named another server with PREFECT_API_URL.
    """
    _refuse_users_server()
    ran_before = recorded_server(workspace) is not None
    server = start_server(workspace, port, progress=progress)
    try:
        apply_environment(workspace)
        yield server
    finally:
        if not ran_before:
            stop_server(workspace)
            apply_environment(workspace)


def _find_or_start(workspace: Workspace, port: int | None, progress: Progress, deadline_seconds: float) -> RunningServer:
    record = recorded_server(workspace)
    if record is None:
        return _start(workspace, _port_as_before(workspace) if port is None else _unused(port), progress, deadline_seconds)
    if port not in (None, record.port):
        raise ConfigurationError(
            got=f"port {port}, while this workspace's Prefect server runs on port {record.port} (process {record.pid}).",
            allowed="one server per workspace.",
            next_step=f"leave the port out to use the running one at {record.ui_url}, or stop that one first.",
        )
    server = running_server(workspace, answer_seconds=deadline_seconds)
    if server is None:
        raise RegraftError(
            got=f"this workspace's Prefect server (process {record.pid}), which runs but has not answered for {deadline_seconds:g} s.",
            allowed="a server that answers.",
            next_step=f"read {workspace.logs / 'prefect-server.log'}; stop the process and run the command again.",
        )
    return server


def _start(workspace: Workspace, port: int, progress: Progress, deadline_seconds: float) -> RunningServer:
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", HOST, "--port", str(port)]
    process, log = spawn(command, _environment(workspace, port), workspace.root, workspace.logs / "prefect-server.log")
    record = ServerRecord(**process.model_dump(), port=port)
    healthy = False
    try:
        _wait_until_healthy(record, log, progress, deadline_seconds)
        write_record(record_path(workspace), record)
        healthy = True
    finally:
        if not healthy:
            stop(record, grace_seconds=2.0)
    return _described(record)


def _environment(workspace: Workspace, port: int) -> dict[str, str]:
    own = {API_URL: f"http://{HOST}:{port}/api"}  # the address that the server's pages give the browser
    return {**_LEASES_OUTLIVE_THE_SERVER, **environment_without_server(workspace), **own}


def _wait_until_healthy(record: ServerRecord, log: LogPlace, progress: Progress, deadline_seconds: float) -> None:
    started = time.monotonic()
    shown = -1
    while not _is_healthy(record):
        waited = time.monotonic() - started
        alive = is_alive(record)
        if not alive or waited > deadline_seconds:
            problem = f"does not answer after {waited:.0f} s" if alive else f"ended after {waited:.0f} s"
            raise RegraftError(
                got=f"a Prefect server that {problem}; the end of its log:\n{log.tail()}\n",
                allowed="a server that answers on its health address.",
                next_step=f"read {log.path}; on a busy machine, try again.",
            )
        if int(waited) > shown:
            shown = int(waited)
            progress(_ACTIVITY, shown, int(deadline_seconds))
        time.sleep(0.25)
    progress(_ACTIVITY, int(deadline_seconds), int(deadline_seconds))


def _is_healthy(record: ServerRecord) -> bool:
    import httpx

    try:
        # trust_env: a proxy that the shell names does not reach the loopback interface
        answer = httpx.get(f"{record.api_url}/health", timeout=2.0, trust_env=False)
    except httpx.HTTPError:
        return False
    return answer.status_code == httpx.codes.OK and answer.text == "true"


def _described(record: ServerRecord) -> RunningServer:
    return RunningServer(url=record.api_url, ui_url=record.ui_url, pid=record.pid)


def _port_as_before(workspace: Workspace) -> int:
    # After a reboot, workers and bookmarks still have the former address; a record is there only if nobody stopped the server.
    record = read_record(record_path(workspace), ServerRecord)
    try:
        return _unused(record.port) if record else _free_port()
    except ConfigurationError:
        return _free_port()


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _unused(port: int) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError) as error:
            raise ConfigurationError(
                got=f"port {port} for the Prefect server: {error}.",
                allowed="a port of this machine that no other program uses, 1 to 65535.",
                next_step="give another port, or leave it out to take a free one.",
            ) from error
    return port


def _refuse_users_server() -> None:
    if url := users_api_url():
        raise ConfigurationError(
            got=f"PREFECT_API_URL={url}, while a server of the workspace's own was asked for.",
            allowed="one server for one command.",
            next_step="unset PREFECT_API_URL to use the workspace's own server, or leave out the option that starts one.",
        )
