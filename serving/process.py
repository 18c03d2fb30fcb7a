"""Runs a Bento as a server process of this machine and ends it cleanly."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

from pipelines.core.errors import ConfigurationError, IntegrityError, RegraftError
from serving.client import EndpointClient
from serving.settings import EndpointSettings

# What a server needs of this environment; secrets of other tools stay out of a process that parses untrusted input.
_PASSED_ON = frozenset(
    {"PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV"}
    | {"OMP_NUM_THREADS", "MKL_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"}
)
_POLL_SECONDS = 0.25
_N_TAIL_BYTES = 4_000


@dataclass(frozen=True)
class RunningEndpoint:
    """A server process that is ready.

    Attributes:
        url: For example `http://127.0.0.1:3000`.
        pid: Of the leading process; it starts the worker that answers, and starts it again if it ends.
        log_path: Its output.
    """

    url: str
    pid: int
    log_path: Path
    _process: subprocess.Popen[bytes]

    def wait(self) -> int:
        """Blocks until the server has ended by itself; returns its exit status."""
        return self._process.wait()

    def is_running(self) -> bool:
        """Whether the process is there."""
        return self._process.poll() is None


@contextmanager
def serve_bento(
    bento: Path,
    host: str,
    port: int,
    settings: EndpointSettings,
    log_path: Path,
    start_seconds: float = 120,
    stop_seconds: float = 40,
) -> Iterator[RunningEndpoint]:
    """Serves a Bento for as long as the block runs.

    The code that answers is the Bento's own copy, also where this project is installed beside it.

    Args:
        bento: Directory of a built Bento.
        host: Address to listen on; `127.0.0.1` for this machine only.
        port: Must be free.
        settings: Of the endpoint.
        log_path: Takes the server's output, after what is in it.
        start_seconds: To become ready, which includes loading and verifying the bundle.
        stop_seconds: For requests under way after the block; then the process is killed.

    Raises:
        ConfigurationError: The port is in use or not allowed.
        IntegrityError: The bundle was refused.
        RegraftError: The server ended or did not become ready; its last output is quoted.
    """
    refuse_port_in_use(host, port)
    log_path.parent.mkdir(parents=True, exist_ok=True)
    # BentoML empties the metrics folder of its home when a server starts, also while another one is using it.
    with tempfile.TemporaryDirectory(prefix="regraft-serve-") as home, log_path.open("ab") as log:
        log_start = log.tell()
        process = _start(bento, host, port, settings, Path(home), log)
        try:
            url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
            _wait_until_ready(process, url, log_path, log_start, start_seconds)
            yield RunningEndpoint(url, process.pid, log_path, process)
        finally:
            _stop(process, Path(home), stop_seconds)


def refuse_port_in_use(host: str, port: int) -> None:
    """Tries the address.

    Raises:
        ConfigurationError: Something listens there, or it may not be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # Connections that have just been closed do not count as a use.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigurationError(
                got=f"port {port} on {host}, which cannot be used ({error.strerror}).",
                allowed="a free port from 1024 to 65535, on an address of this machine.",
                next_step=f"stop what listens there (`ss -ltnp 'sport = :{port}'` names it), or choose another port with --port.",
            ) from error


def _start(bento: Path, host: str, port: int, settings: EndpointSettings, home: Path, log: IO[bytes]) -> subprocess.Popen[bytes]:
    options = ["--host", host, "--port", str(port)]
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "bentoml", "serve", str(bento.absolute()), *options],
        env=_environment(settings, home),
        cwd=home,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # an interrupt at the keyboard ends it through us, after its requests
    )


def _environment(settings: EndpointSettings, home: Path) -> dict[str, str]:
    return {
        **{name: value for name, value in os.environ.items() if name in _PASSED_ON},
        **settings.as_environment(),
        "BENTOML_HOME": str(home),
        "BENTOML_DO_NOT_TRACK": "true",
        "DO_NOT_TRACK": "1",
        "HF_HUB_OFFLINE": "1",
        # The Bento's folder comes first on the import path, before this project's sources; nothing else may come before it.
        "PYTHONSAFEPATH": "1",
        # Compiled files hold paths of this machine, and a Bento may still be shipped after it has run here.
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, log_path: Path, log_start: int, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    with EndpointClient(url, timeout_seconds=5) as client:
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise _failed(f"ended with status {process.returncode}", log_path, log_start)
            if client.is_ready():
                return
            _raise_if_refused(client)
            time.sleep(_POLL_SECONDS)
    raise _failed(f"was not ready within {seconds:g} s", log_path, log_start)


def _raise_if_refused(client: EndpointClient) -> None:
    try:
        model = client.model()
    except RegraftError:  # not up yet
        return
    if model.refused is not None and model.bundle is None:
        raise IntegrityError(
            got=f"an endpoint that refused bundle {model.refused.bundle or '(unknown)'}: {model.refused.reason}",
            allowed="a bundle that its hashes and goldens confirm.",
            next_step="restore it with `dvc checkout`, or promote another version with `regraft rollback`.",
        )


def _failed(problem: str, log_path: Path, log_start: int) -> RegraftError:
    tail = log_path.read_bytes()[log_start:][-_N_TAIL_BYTES:].decode(errors="replace").strip()
    return RegraftError(
        got=f"a server that {problem}. The end of its output: {tail or '(nothing)'}",
        allowed="a server that becomes ready.",
        next_step=f"read {log_path.name} in the folder of logs, and run `regraft doctor`.",
    )


def _stop(process: subprocess.Popen[bytes], home: Path, seconds: float) -> None:
    if process.poll() is None:
        # To the leader only: it ends its worker after the requests under way.
        process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    finally:
        for member in _family(home):
            _kill(member)


def _family(home: Path) -> list[psutil.Process]:
    # BentoML's worker leads a session of its own and outlives a leader that was killed, so neither group nor parent finds it;
    # the home, which is new for each server, does.
    return [process for process in psutil.process_iter() if _home_of(process) == str(home)]


def _home_of(process: psutil.Process) -> str | None:
    try:
        return process.environ().get("BENTOML_HOME")
    except (psutil.Error, OSError):  # it has ended, or belongs to somebody else
        return None


def _kill(process: psutil.Process) -> None:
    try:
        process.kill()
        process.wait(5)
    except psutil.Error:  # it has ended by itself
        return
