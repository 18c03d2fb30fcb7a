"""The device's global concurrency limit on the Prefect server: the queue that people see.

It lies between runs of different deployments, where no deployment's own limit reaches.
"""

from __future__ import annotations

import logging
import platform
import re
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from types import TracebackType

from flows.device_wait import Wait
from flows.slot_holders import LEASE_SECONDS, SlotHolders

_LOGGER = logging.getLogger(__name__)
# Prefect's own wait asks every half a minute and says nothing meanwhile. A long one asks less often: many may wait for hours on one server.
_SECONDS_BETWEEN_TRIES = 3.0
_MOST_SECONDS_BETWEEN_TRIES = 15.0
_TIMES_LONGER = 1.25
_LOCKED_STATUS = 423


def limit_name(device: str) -> str:
    """Of the global concurrency limit on the Prefect server.

    Args:
        device: One of `device_lock.device_names`.
    """
    host = re.sub(r"[^A-Za-z0-9.-]+", "-", platform.node()) or "machine"
    return f"regraft-training-{host}-{device}"


def take_slots(held: ExitStack, names: Sequence[str], wait: Wait) -> None:
    """Waits for a slot of every limit, says for whom, and gives them back with `held`.

    Does nothing without a server that outlives this process: nobody else would ask a temporary one. Where the server fails, a warning says
    so, and the kernel's lock holds alone.

    Args:
        held: Ends when the training does.
        names: Of the limits.
        wait: For others.

    Raises:
        ConflictError: Others hold them for longer.
    """
    if not _in_run_of_a_server():
        return
    import httpx
    from prefect.client.orchestration import get_client
    from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError

    said, pause_seconds = None, _SECONDS_BETWEEN_TRIES
    try:
        with get_client(sync_client=True) as client:
            for name in names:
                client.upsert_global_concurrency_limit_by_name(name, 1)
            holders = SlotHolders(client, names)
            while not _taken(held, names):
                holder = holders.name()
                if not wait.left_seconds:
                    raise wait.over(", ".join(names), holder)
                if holder != said:
                    _LOGGER.warning("%s", wait.in_words(", ".join(names), holder))
                    said = holder
                time.sleep(min(pause_seconds, wait.left_seconds))
                pause_seconds = min(_TIMES_LONGER * pause_seconds, _MOST_SECONDS_BETWEEN_TRIES)
    except (httpx.HTTPError, ConcurrencySlotAcquisitionError) as error:
        _LOGGER.warning("The server gives no slot of %s (%s); the lock of this machine holds alone.", ", ".join(names), error)


def _taken(held: ExitStack, names: Sequence[str]) -> bool:
    """Tries once; False where another run holds one of them.

    Raises:
        ConcurrencySlotAcquisitionError: The server failed.
    """
    import httpx
    from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError
    from prefect.concurrency.sync import concurrency

    # What is lost of the slot while the training runs (a server that restarts) must not end the training: the file still holds.
    slots = concurrency(list(names), strict=True, max_retries=0, lease_duration=LEASE_SECONDS, raise_on_lease_renewal_failure=False)
    try:
        slots.__enter__()
    except ConcurrencySlotAcquisitionError as error:
        cause = error.__cause__
        if isinstance(cause, httpx.HTTPStatusError) and cause.response.status_code == _LOCKED_STATUS:
            return False
        raise
    held.push(partial(_give_back, slots, names))
    return True


def _give_back(
    slots: AbstractContextManager[None],
    names: Sequence[str],
    kind: type[BaseException] | None,
    error: BaseException | None,
    trace: TracebackType | None,
) -> bool:
    """Ends the block of the slots. A server that fails then must not throw away a training that is done; its own error goes on."""
    import httpx
    from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError
    from prefect.exceptions import PrefectException

    try:
        return bool(slots.__exit__(kind, error, trace))
    except (httpx.HTTPError, ConcurrencySlotAcquisitionError, PrefectException, OSError) as failed:
        message = "The server did not take back the slot of %s (%s: %s); it is free again when its lease of %g s is over."
        _LOGGER.warning(message, ", ".join(names), type(failed).__name__, failed, LEASE_SECONDS)
        return False


def _in_run_of_a_server() -> bool:
    if "prefect" not in sys.modules:
        return False
    from prefect.context import FlowRunContext
    from prefect.settings import PREFECT_API_URL

    return FlowRunContext.get() is not None and PREFECT_API_URL.value() is not None
