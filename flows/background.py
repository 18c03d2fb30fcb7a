"""Processes that outlive the command which started them: started in a group of their own, found again, stopped with all they started."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

if TYPE_CHECKING:
    import psutil

Record = TypeVar("Record", bound=BaseModel)

_CLOCK_TOLERANCE_SECONDS = 2.0  # the kernel's boot time, from which create times follow, moves when the clock is set
_started: dict[int, subprocess.Popen[bytes]] = {}  # kept: the destructor of a Popen warns about a child that still runs


class ProcessRecord(BaseModel):
    """Which process it was: a pid alone may belong to another by now.

    Attributes:
        created_at: Seconds since the epoch, from the operating system.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    pid: int
    created_at: float


@dataclass(frozen=True)
class LogPlace:
    """Where a process's output begins in a log that earlier ones wrote to as well.

    Attributes:
        start_byte: Size of the file when the process started.
    """

    path: Path
    start_byte: int

    def tail(self, n_lines: int = 15) -> str:
        """The last lines that this process wrote."""
        with self.path.open("rb") as file:
            file.seek(self.start_byte)
            return "\n".join(file.read().decode(errors="replace").splitlines()[-n_lines:])


def spawn(command: Sequence[str], environment: Mapping[str, str], folder: Path, log: Path) -> tuple[ProcessRecord, LogPlace]:
    """Starts a process in its own session, without input, its output appended to `log`.

    Args:
        command: Program and arguments; no shell is involved.
        environment: All variables of the process.
        folder: Its current folder.
        log: File whose folder is made if needed.
    """
    import psutil

    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        place = LogPlace(log, output.tell())
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=dict(environment),
            start_new_session=True,
        )
    _started[process.pid] = process
    return ProcessRecord(pid=process.pid, created_at=psutil.Process(process.pid).create_time()), place


def is_alive(record: ProcessRecord) -> bool:
    """Whether that very process still runs."""
    import psutil

    try:
        process = psutil.Process(record.pid)
        same = abs(process.create_time() - record.created_at) < _CLOCK_TOLERANCE_SECONDS
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def stop(record: ProcessRecord, grace_seconds: float) -> None:
    """Ends the process and everything below it: asks, asks again, then kills. Other processes are never touched.

    Args:
        record: A process that `spawn` started, in this process or an earlier one.
        grace_seconds: How long it may take to end by itself after each request.
    """
    if not is_alive(record):
        _reap(record.pid)
        return
    family = _family(record.pid)
    for _ in range(2):  # a Prefect worker sometimes needs a second request
        _signal(record.pid, signal.SIGTERM)
        if _ended(record, grace_seconds):
            break
    _kill_survivors(family)
    _reap(record.pid)


def write_record(path: Path, record: BaseModel) -> None:
    """Writes a record in one step, readable by its owner only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = path.with_suffix(f".{os.getpid()}.tmp")
    staging.write_text(record.model_dump_json(indent=2), encoding="utf-8")
    staging.chmod(0o600)
    staging.replace(path)


def read_record(path: Path, kind: type[Record]) -> Record | None:
    """Reads a record; None where there is none or where a crash left half of one."""
    try:
        return kind.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def _family(pid: int) -> list[psutil.Process]:
    import psutil

    try:
        return [*psutil.Process(pid).children(recursive=True), psutil.Process(pid)]
    except psutil.NoSuchProcess:
        return []


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _ended(record: ProcessRecord, seconds: float) -> bool:
    import time

    deadline = time.monotonic() + seconds
    while is_alive(record):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def _kill_survivors(family: Sequence[psutil.Process]) -> None:
    import psutil

    for process in family:
        try:
            process.kill()  # psutil compares the create time first: a pid that was given away is not touched
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(family, timeout=5)


def _reap(pid: int) -> None:
    process = _started.get(pid)
    if process is not None and process.poll() is not None:
        del _started[pid]
