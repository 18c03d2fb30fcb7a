"""Stage `train` in several processes: starts them, shows their progress as if it were this process's, and takes them down with it."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.config import ProjectConfig
from pipelines.core.bundle import canonical_json
from pipelines.core.errors import ConfigurationError, DataError, Finding, IntegrityError, RefusedError, RegraftError
from pipelines.exclusive import exclusive
from pipelines.progress import Progress, silent
from pipelines.training.job import EVENTS, TrainJob
from pipelines.training.loading import usable_cores

if TYPE_CHECKING:
    from pipelines.training.train import KeptFolders

_log = logging.getLogger(__name__)

JOB = "job.json"
LOG = "processes.log"
_ERRORS: dict[str, type[RegraftError]] = {
    error.code: error for error in (RegraftError, ConfigurationError, DataError, IntegrityError, RefusedError)
}
# Found in the environment that runs this code, never by chance on PATH.
_LAUNCHERS = {"torchrun": "torch.distributed.run", "accelerate": "accelerate.commands.accelerate_cli"}
_POLL_SECONDS = 0.2
_TERMINATION_SECONDS = 35.0  # torchrun gives its processes 30 s before it kills them
_TAIL_LINES = 40


def train_in_processes(
    samples: Path, data: Path, selected: Path, config: ProjectConfig, kept: KeptFolders, out: Path, progress: Progress = silent
) -> None:
    """What `pipelines.training.train.train` does, in `compute.processes` processes that `compute.launch` starts.

    Raises:
        ConfigurationError: The launcher cannot be started.
        RegraftError: What a process raised, as in one process; or another failure, with the end of the log.
    """
    folder = kept.checkpoints.absolute() / "processes"
    shutil.rmtree(folder, ignore_errors=True)
    # A worker of a launch that was just killed may make it again meanwhile.
    folder.mkdir(parents=True, exist_ok=True)
    job = TrainJob(
        samples=samples.absolute(),
        data=data.absolute(),
        selected=selected.absolute(),
        config=_shared_out(config),
        features=kept.features.absolute(),
        checkpoints=kept.checkpoints.absolute(),
        out=out.absolute(),
        host=socket.gethostname(),
        # Workers of a launch that was just killed look for their own file, not for one that this launch holds.
        alive=f"alive-{uuid.uuid4().hex}.lock",
    )
    (folder / JOB).write_bytes(canonical_json(job.model_dump(mode="json")))
    exit_code = _run(launch_command(config, folder / JOB), config.compute.processes, folder / job.alive, progress)
    if exit_code != 0:
        raise failure(folder, exit_code)


def _shared_out(config: ProjectConfig) -> ProjectConfig:
    """Where nobody said how many threads decode, each process gets its share of the cores."""
    compute = config.compute
    n_workers = compute.n_workers or max(1, usable_cores() // compute.processes)
    return config.model_copy(update={"compute": compute.model_copy(update={"n_workers": n_workers})})


def _run(command: list[str], n_processes: int, alive: Path, progress: Progress) -> int:
    with exclusive(alive), _running(command, n_processes, alive.with_name(LOG)) as process:
        events = Events(alive.with_name(EVENTS), progress)
        while process.poll() is None:
            events.forward()
            time.sleep(_POLL_SECONDS)
        events.forward()
    return process.returncode


def launch_command(config: ProjectConfig, job: Path) -> list[str]:
    """`compute.launch` with its launcher and its number of processes filled in."""
    words: list[str] = []
    for word in config.compute.launch:
        module = _LAUNCHERS.get(word)
        words += [sys.executable, "-m", module] if module else [word.replace("{processes}", str(config.compute.processes))]
    return [*words, "-m", "pipelines.training.job", str(job)]


class Events:
    """Reads what the main process appends to the event file.

    Args:
        path: It need not exist yet.
        progress: Told what the main process tells; what it logs is logged here.
    """

    def __init__(self, path: Path, progress: Progress) -> None:
        self._path = path
        self._progress = progress
        self._read_bytes = 0

    def forward(self) -> None:
        """Passes on what is new."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._read_bytes)
            for line in file:
                if not line.endswith(b"\n"):
                    break  # it is being written
                self._read_bytes += len(line)
                self._pass_on(json.loads(line))

    def _pass_on(self, event: dict[str, Any]) -> None:
        if "activity" in event:
            self._progress(event["activity"], event["done"], event["total"])
        else:
            logging.getLogger(event["logger"]).log(event["level"], "%s", event["message"])


def failure(folder: Path, exit_code: int) -> RegraftError:
    """Why the processes ended: the error that the first of them wrote, or the end of their log."""
    written = sorted(folder.glob("error-*.json"), key=lambda path: int(path.stem.removeprefix("error-")))
    if written:
        said = json.loads(written[0].read_bytes())
        findings = [Finding(**finding) for finding in said["findings"]]
        return _ERRORS[said["code"]](said["got"], said["allowed"], said["next_step"], findings)
    tail = "\n".join((folder / LOG).read_text(errors="replace").splitlines()[-_TAIL_LINES:])
    return RegraftError(
        got=f"training processes that ended with exit code {exit_code}; their log ends with\n{tail}\n",
        allowed="processes that end with 0.",
        next_step=f"read {folder / LOG}; exit code -9 or SIGKILL in it often means that memory ran out: set compute.micro_batch_size.",
    )


@contextmanager
def _running(command: list[str], n_processes: int, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as file:
        try:
            streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": file, "stderr": subprocess.STDOUT}
            process = subprocess.Popen(command, **streams, start_new_session=True, env=_environment(n_processes))
        except OSError as error:
            raise ConfigurationError(
                got=f"compute.launch, whose program {command[0]} cannot be started: {error.strerror}.",
                allowed="torchrun, accelerate, or another program on PATH.",
                next_step="correct compute.launch in the conf file.",
            ) from error
        try:
            yield process
        finally:
            _end(process)


def _environment(n_processes: int) -> dict[str, str]:
    environment = dict(os.environ)
    # Without it `-m` looks for the package in the folder of whoever runs this first.
    environment["PYTHONSAFEPATH"] = "1"
    # torchrun would take 1 thread whatever there is. For processes on several machines whoever starts this sets the variable.
    environment.setdefault("OMP_NUM_THREADS", str(max(1, usable_cores() // n_processes)))
    return environment


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends the launcher and what it started, if it still runs: it is told to, and its whole group killed if it does not obey."""
    if process.poll() is not None:
        return
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(_TERMINATION_SECONDS)
    except subprocess.TimeoutExpired:
        _log.warning("the training's launcher did not end in %.0f s and is killed", _TERMINATION_SECONDS)
    finally:  # a second interruption ends the patience too
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
