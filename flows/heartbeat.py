"""Heartbeats of flow runs: how a run that died is noticed, and what that costs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

FREQUENT_HEARTBEAT = {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"}  # the shortest that Prefect allows; its default is 180


@contextmanager
def without_heartbeat() -> Iterator[None]:
    """Runs flows without a heartbeat, for runs inside this process that nobody watches from outside.

    Leaving a flow joins its heartbeat thread, which sleeps in steps of a second: 1.2 s a run against 0.3 s. Prefect takes no value for
    "none" from the environment, only from here.
    """
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield
