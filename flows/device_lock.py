"""One training at a time on one device, whoever starts it.

Two locks, taken in this order and given back when the training ends:

1. Prefect's global concurrency limit of the device's name, where a server is in use. It is the queue that people see: retrainings of
   different deployments wait for each other there, on one machine or in several containers of it.
2. The kernel's lock on a file (flock) in the machine's folder for temporary files. It is the truth: it also holds against a
   `regraft retrain` in a terminal, another server's runs, and a server that is down; it goes away with its process, however that ends,
   while Prefect's slot of a killed process is free again only when its lease of a minute is over. Processes whose `TMPDIR` differs have
   different files and do not see each other.

Whoever waits says in its log for whom: the run that the server names, or what the holder has written into the file.

Both are held only while the stage really trains: not while outputs are found in the store, gates are judged or a person is asked.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from flows.device_slots import limit_name, take_slots
from flows.device_wait import Wait
from pipelines.core.errors import RefusedError

_LOGGER = logging.getLogger(__name__)
_FOR_EVERYBODY = 0o666
_N_SHOWN = 200


def device_names(device: str) -> list[str]:
    """What a training holds: `cpu`, or each GPU that this process sees by its own identity, so that `CUDA_VISIBLE_DEVICES` may differ.

    Args:
        device: Of the conf file.
    """
    if device == "cpu":
        return ["cpu"]
    import torch

    return sorted(f"gpu-{torch.cuda.get_device_properties(index).uuid}" for index in range(torch.cuda.device_count())) or [device]


def lock_file(device: str, folder: Path | None = None) -> Path:
    """Of the kernel's lock.

    Args:
        device: One of `device_names`.
        folder: Instead of the machine's folder for temporary files.
    """
    return (folder or Path(tempfile.gettempdir())) / f"regraft-training-{device}.lock"


@contextmanager
def alone_on(device: str, wait_minutes: float, name: str = "a training", folder: Path | None = None) -> Iterator[None]:
    """Waits until nobody trains on the device, and holds it until the block ends.

    Args:
        device: `device` of the conf file.
        wait_minutes: For others, in all.
        name: Of this training, for those who wait for it.
        folder: Of the lock files; by default the machine's folder for temporary files.

    Raises:
        ConflictError: Others hold it for longer.
        RefusedError: The lock's file belongs to another user, who lets nobody else open it.
    """
    names, wait = device_names(device), Wait.of(wait_minutes, name)
    with ExitStack() as held:
        take_slots(held, [limit_name(name) for name in names], wait)
        for name in names:
            _take_file(held, lock_file(name, folder), wait)
        yield


def _take_file(held: ExitStack, path: Path, wait: Wait) -> None:
    from filelock import FileLock, Timeout

    lock = FileLock(path, mode=_FOR_EVERYBODY)  # other users' trainings lock the same file
    try:
        lock.acquire(blocking=False)
    except Timeout:
        _LOGGER.warning("%s", wait.in_words(str(path), _holder(path)))
        try:
            lock.acquire(timeout=wait.left_seconds)
        except Timeout as error:
            raise wait.over(str(path), _holder(path)) from error
    except PermissionError as error:
        raise RefusedError(
            got=f"the lock {path}, which another user made and this one may not open.",
            allowed="one training at a time on a device, by users who share its lock.",
            next_step=f"let its owner run `chmod 666 {path}`.",
        ) from error
    held.callback(lock.release)
    _sign(path, wait.name)


def _sign(path: Path, name: str) -> None:
    """Writes into the file who holds it; the next holder writes over what a killed one has left. Without space left nobody is named."""
    with suppress(OSError), path.open("r+", encoding="utf-8") as file:
        file.truncate()
        file.write(f"{name}, process {os.getpid()}, since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC,")


def _holder(path: Path) -> str:
    """As the holder has signed. Any user may write there, so that only printable characters of it are shown."""
    try:
        signed = path.read_bytes()[:_N_SHOWN].decode("utf-8", errors="replace")
    except OSError:
        signed = ""
    return "".join(character for character in signed if character.isprintable()) or "another training"
