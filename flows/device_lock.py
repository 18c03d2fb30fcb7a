"""One training at a time on one device, whoever starts it.

Two locks, taken in this order and given back when the training ends:

1. Prefect's global concurrency limit of the device's name, where a server is in use. It is the queue that people see: retrainings of
   different deployments wait for each other there, on one machine or in several containers of it.
2. The kernel's lock on a file (flock) in the machine's folder for temporary files. It is the truth: it also holds against a
   `regraft retrain` in a terminal, another server's runs, and a server that is down; it goes away with its process, however that ends,
   while Prefect's slot of a killed process is free again only when its lease of a minute is over. Processes whose `TMPDIR` differs have
   different files and do not see each other.

Both are held only while the stage really trains: not while outputs are found in the store, gates are judged or a person is asked.
"""

from __future__ import annotations

import logging
import platform
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pipelines.core.errors import RefusedError

_LOGGER = logging.getLogger(__name__)
_LEASE_SECONDS = 60  # the shortest that Prefect allows
_FOR_EVERYBODY = 0o666


def device_names(device: str) -> list[str]:
    """What a training holds: `cpu`, or each GPU that this process sees by its own identity, so that `CUDA_VISIBLE_DEVICES` may differ.

    Args:
        device: Of the conf file.
    """
    if device == "cpu":
        return ["cpu"]
    import torch

    return sorted(f"gpu-{torch.cuda.get_device_properties(index).uuid}" for index in range(torch.cuda.device_count())) or [device]


def limit_name(device: str) -> str:
    """Of the global concurrency limit on the Prefect server.

    Args:
        device: One of `device_names`.
    """
    host = re.sub(r"[^A-Za-z0-9.-]+", "-", platform.node()) or "machine"
    return f"regraft-training-{host}-{device}"


def lock_file(device: str, folder: Path | None = None) -> Path:
    """Of the kernel's lock.

    Args:
        device: One of `device_names`.
        folder: Instead of the machine's folder for temporary files.
    """
    return (folder or Path(tempfile.gettempdir())) / f"regraft-training-{device}.lock"


@contextmanager
def alone_on(device: str, wait_minutes: float, folder: Path | None = None) -> Iterator[None]:
    """Waits until nobody trains on the device, and holds it until the block ends.

    Args:
        device: `device` of the conf file.
        wait_minutes: For others, in all.
        folder: Of the lock files; by default the machine's folder for temporary files.

    Raises:
        RefusedError: Others hold it for longer.
    """
    names = device_names(device)
    deadline = time.monotonic() + 60 * wait_minutes  # of all waits together
    with ExitStack() as held:
        _take_slots(held, [limit_name(name) for name in names], wait_minutes)
        for name in names:
            _take_file(held, lock_file(name, folder), deadline, wait_minutes)
        yield


def _take_file(held: ExitStack, path: Path, deadline: float, wait_minutes: float) -> None:
    from filelock import FileLock, Timeout

    lock = FileLock(path, mode=_FOR_EVERYBODY)  # other users' trainings lock the same file
    try:
        lock.acquire(blocking=False)
    except Timeout:
        left_seconds = max(0.0, deadline - time.monotonic())
        _LOGGER.warning("Another training holds %s; waiting up to %.3g minutes.", path, left_seconds / 60)
        try:
            lock.acquire(timeout=left_seconds)
        except Timeout as error:
            raise _held_by_another(str(path), wait_minutes) from error
    except PermissionError as error:
        raise RefusedError(
            got=f"the lock {path}, which another user made and this one may not open.",
            allowed="one training at a time on a device, by users who share its lock.",
            next_step=f"let its owner run `chmod 666 {path}`.",
        ) from error
    held.callback(lock.release)


def _take_slots(held: ExitStack, names: list[str], wait_minutes: float) -> None:
    """Does nothing without a server that outlives this process: nobody else would ask a temporary one."""
    if not _in_run_of_a_server():
        return
    import httpx
    from prefect.client.orchestration import get_client
    from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError
    from prefect.concurrency.sync import concurrency

    try:
        with get_client(sync_client=True) as client:
            for name in names:
                client.upsert_global_concurrency_limit_by_name(name, 1)
        # What is lost of the slot while the training runs (a server that restarts) must not end the training: the file still holds.
        slots = concurrency(
            names,
            strict=True,
            timeout_seconds=max(1.0, wait_minutes * 60),
            lease_duration=_LEASE_SECONDS,
            raise_on_lease_renewal_failure=False,
        )
        held.enter_context(slots)
    except TimeoutError as error:
        raise _held_by_another(", ".join(names), wait_minutes) from error
    except (httpx.HTTPError, ConcurrencySlotAcquisitionError) as error:
        _LOGGER.warning("The server gives no slot of %s (%s); the lock of this machine holds alone.", ", ".join(names), error)


def _in_run_of_a_server() -> bool:
    if "prefect" not in sys.modules:
        return False
    from prefect.context import FlowRunContext
    from prefect.settings import PREFECT_API_URL

    return FlowRunContext.get() is not None and PREFECT_API_URL.value() is not None


def _held_by_another(what: str, wait_minutes: float) -> RefusedError:
    return RefusedError(
        got=f"another training that has held {what} for the {wait_minutes:g} minutes that this one waited.",
        allowed="one training at a time on one device.",
        next_step="wait for its end and start this run again, or give it more time with operation.device_wait_minutes.",
    )
