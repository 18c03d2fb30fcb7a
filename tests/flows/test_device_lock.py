from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from threading import Timer
from typing import Any

import httpx
import pytest
from filelock import FileLock
from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError
from prefect.exceptions import ObjectNotFound

from flows.device_lock import alone_on, lock_file
from flows.device_slots import _taken, limit_name
from pipelines.core.errors import RefusedError
from tests.flows.conftest import CHECKOUT, Stack

HOLD = """
import sys, time
from pathlib import Path
from flows.device_lock import alone_on
with alone_on("cpu", 1, "the run r1 of digits", Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""
TRAIN = """
import json, sys, time
from pathlib import Path
from prefect import flow
from flows.device_lock import alone_on

@flow(name=sys.argv[1], persist_result=False)
def train():
    with alone_on("cpu", 5, sys.argv[1], Path(sys.argv[2])):
        began = time.time()
        time.sleep(3)
        return began, time.time()

print(json.dumps(train()), flush=True)
"""


@pytest.mark.parametrize("signed", [b"\x1b[31mred\nline\xff", b""])
def test_what_others_wrote_into_the_file_is_shown_without_control_characters(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, signed: bytes
) -> None:
    with FileLock(lock_file("cpu", tmp_path)):
        lock_file("cpu", tmp_path).write_bytes(signed)
        with pytest.raises(RefusedError), alone_on("cpu", 0.001, folder=tmp_path):
            pytest.fail("two at once")
    (said,) = [record.getMessage() for record in caplog.records if record.name == "flows.device_lock"]
    assert said.startswith(("[31mredline\ufffd holds", "another training holds"))
    assert said.isprintable()


def test_a_second_training_waits_and_then_says_so(tmp_path: Path) -> None:
    message = r"another training that has held .*regraft-training-cpu\.lock for the 0\.002 minutes.*operation\.device_wait_minutes"
    with alone_on("cpu", 0, folder=tmp_path), pytest.raises(RefusedError, match=message), alone_on("cpu", 0.002, folder=tmp_path):
        pytest.fail("two at once")
    with alone_on("cpu", 0, folder=tmp_path):
        pass


def test_all_waits_together_take_no_longer_than_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first of two devices becomes free in the middle of the wait; the second does not."""
    monkeypatch.setattr("flows.device_lock.device_names", lambda _: ["gpu-1", "gpu-2"])
    first, second = (FileLock(lock_file(name, tmp_path), thread_local=False) for name in ("gpu-1", "gpu-2"))
    wait_seconds = 2.0
    with second:
        first.acquire()
        leaves = Timer(wait_seconds / 2, first.release)
        leaves.start()
        begun = time.monotonic()
        with pytest.raises(RefusedError, match=r"gpu-2\.lock"), alone_on("cuda", wait_seconds / 60, folder=tmp_path):
            pytest.fail("two at once")
        waited = time.monotonic() - begun
        leaves.join()
    assert wait_seconds * 0.9 < waited < wait_seconds * 1.3


def test_a_failed_training_gives_the_device_back(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="out of memory"), alone_on("cpu", 0, folder=tmp_path):
        raise ValueError("out of memory")
    with alone_on("cpu", 0, folder=tmp_path):
        pass


def test_every_user_of_the_machine_may_lock_the_same_file(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        with alone_on("cpu", 0, folder=tmp_path):
            assert lock_file("cpu", tmp_path).stat().st_mode & 0o777 == 0o666
    finally:
        os.umask(before)


def test_the_limit_names_the_machine_and_the_device() -> None:
    import platform

    assert limit_name("gpu-1") == f"regraft-training-{platform.node()}-gpu-1"
    assert limit_name("cpu") != limit_name("gpu-1")


def test_a_killed_training_is_named_and_leaves_the_device_free(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            name = rf"the run r1 of digits, process {holder.pid}, since [\d: -]+ UTC,"
            with pytest.raises(RefusedError, match=rf"another training.*{name}"), alone_on("cpu", 0.001, folder=tmp_path):
                pytest.fail("two at once")
            (said,) = [record.getMessage() for record in caplog.records if record.name == "flows.device_lock"]
            assert re.match(
                rf"{name} holds {lock_file('cpu', tmp_path)}, so this one waits for its turn: up to [\d.]+ minutes more\.", said
            )
        finally:
            holder.send_signal(signal.SIGKILL)
    with alone_on("cpu", 0.05, folder=tmp_path):
        pass


def failing_at_release(error: Exception) -> Callable[..., AbstractContextManager[None]]:
    """As Prefect's own, which asks the server in its `finally`."""

    @contextmanager
    def concurrency(*_: object, **__: object) -> Iterator[None]:
        try:
            yield
        finally:
            raise error

    return concurrency


RELEASE_ERRORS = [
    httpx.ConnectError("refused"),
    httpx.ReadTimeout("late"),
    ConcurrencySlotAcquisitionError("no"),
    ObjectNotFound(http_exc=ValueError("gone")),
    ConnectionResetError("reset"),
]


@pytest.mark.parametrize("error", RELEASE_ERRORS, ids=lambda error: type(error).__name__)
def test_a_server_that_fails_at_the_end_does_not_end_the_run(
    error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("prefect.concurrency.sync.concurrency", failing_at_release(error))
    with ExitStack() as held:
        assert _taken(held, ["gpu-1", "gpu-2"])
    own, held = MemoryError("its own"), ExitStack()
    assert _taken(held, ["gpu-1", "gpu-2"])
    assert held.__exit__(MemoryError, own, None) is False, "an error of the training goes on"
    said = [record.getMessage() for record in caplog.records if record.name == "flows.device_slots"]
    assert len(said) == 2
    assert said[0].startswith(f"The server did not take back the slot of gpu-1, gpu-2 ({type(error).__name__}: ")


def test_what_is_no_fault_of_the_server_is_not_kept_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prefect.concurrency.sync.concurrency", failing_at_release(ValueError("a mistake")))
    with pytest.raises(ValueError, match="a mistake"), ExitStack() as held:
        assert _taken(held, ["gpu-1"])


@pytest.mark.slow
def test_retrainings_of_two_deployments_take_turns_by_the_servers_limit_alone(stack: Stack, tmp_path: Path) -> None:
    """Each has a lock folder of its own, as two containers of one machine have."""
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    code = [sys.executable, "-c", TRAIN]
    pair = [
        subprocess.Popen([*code, folder.name, str(folder)], cwd=CHECKOUT, env=os.environ, stdout=subprocess.PIPE, text=True)
        for folder in folders
    ]
    spans: list[Any] = sorted(json.loads((process.communicate(timeout=120)[0]).splitlines()[-1]) for process in pair)
    assert spans[0][1] <= spans[1][0], f"both trained at once: {spans}"

    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        limit = client.read_global_concurrency_limit_by_name(limit_name("cpu"))
        assert limit.limit == 1
        deadline = time.monotonic() + 60
        while client.read_global_concurrency_limit_by_name(limit_name("cpu")).active_slots and time.monotonic() < deadline:
            time.sleep(0.5)
        assert client.read_global_concurrency_limit_by_name(limit_name("cpu")).active_slots == 0, "the slot was not given back"


@pytest.mark.slow
def test_a_slot_that_a_restarted_server_has_forgotten_is_given_back(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from prefect import flow
    from prefect.client.orchestration import get_client

    monkeypatch.setattr("flows.slot_holders._ABANDONED_AFTER_SECONDS", 1.0)
    name = limit_name("gpu-forgotten")
    monkeypatch.setattr("flows.device_lock.device_names", lambda _: ["gpu-forgotten"])

    @flow(name="train-after-a-restart", persist_result=False)
    def train() -> int:
        with alone_on("cuda", 1, "this one", tmp_path), get_client(sync_client=True) as client:
            return client.read_global_concurrency_limit_by_name(name).active_slots

    with get_client(sync_client=True) as client:
        client.upsert_global_concurrency_limit_by_name(name, 1)
        client.increment_concurrency_slots([name], 1, "concurrency")  # without a lease, as after its loss
    assert train() == 1
    said = [record.getMessage() for record in caplog.records if record.name == "flows.slot_holders"]
    assert [line.split(" as taken")[0] for line in said] == [f"The server has counted the slot of {name}"]
