from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest

from flows.background import ProcessRecord, is_alive, read_record, spawn, stop, write_record

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)"
# A child in a session of its own, as Prefect's worker makes them: signals to the parent's group do not reach it.
PARENT = (
    "import subprocess, sys, time; child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], start_new_session=True);"
    "print(child.pid, flush=True); time.sleep(60)"
)


def start(code: str, log: Path) -> ProcessRecord:
    record, _ = spawn([sys.executable, "-c", code], os.environ, log.parent, log)
    return record


def wait_for_output(log: Path) -> str:
    deadline = time.monotonic() + 10
    while not log.read_text().strip() and time.monotonic() < deadline:
        time.sleep(0.02)
    return log.read_text().strip()


def wait_until_ended(record: ProcessRecord) -> None:
    deadline = time.monotonic() + 10
    while is_alive(record) and time.monotonic() < deadline:
        time.sleep(0.02)


def test_a_process_runs_in_its_own_session_until_it_is_stopped(tmp_path: Path) -> None:
    record = start("import time; time.sleep(60)", tmp_path / "log")
    assert is_alive(record)
    assert os.getsid(record.pid) == record.pid
    stop(record, grace_seconds=5)
    assert not is_alive(record)
    assert not psutil.pid_exists(record.pid), "a zombie is left"


def test_stop_is_patient_only_for_a_while(tmp_path: Path) -> None:
    record = start(STUBBORN, tmp_path / "log")
    wait_for_output(tmp_path / "log")
    stop(record, grace_seconds=0.2)
    assert not is_alive(record)


def test_stop_also_ends_children_with_a_session_of_their_own(tmp_path: Path) -> None:
    record = start(PARENT, tmp_path / "log")
    child = psutil.Process(int(wait_for_output(tmp_path / "log")))
    stop(record, grace_seconds=5)
    assert not child.is_running()


def test_a_pid_that_now_belongs_to_another_process_is_left_alone(tmp_path: Path) -> None:
    record = start("import time; time.sleep(60)", tmp_path / "log")
    former = record.model_copy(update={"created_at": record.created_at - 100})
    try:
        assert not is_alive(former)
        stop(former, grace_seconds=0.1)
    finally:
        alive = is_alive(record)
        os.kill(record.pid, signal.SIGKILL)
    assert alive, "a process of somebody else was stopped"


def test_a_process_that_ended_is_not_alive_although_it_was_not_waited_for(tmp_path: Path) -> None:
    record = start("", tmp_path / "log")
    wait_until_ended(record)
    assert not is_alive(record)
    stop(record, grace_seconds=0)


def test_the_log_is_kept_and_its_tail_is_that_of_the_last_process(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "server.log"
    log.parent.mkdir()
    log.write_text("earlier\n")
    record, place = spawn([sys.executable, "-c", "print(*range(3), sep='\\n', flush=True)"], os.environ, tmp_path, log)
    wait_until_ended(record)
    stop(record, grace_seconds=0)
    assert log.read_text() == "earlier\n0\n1\n2\n"
    assert place.tail() == "0\n1\n2"
    assert place.tail(n_lines=1) == "2"


def test_a_record_is_read_back_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "state" / "server.json"
    record = ProcessRecord(pid=12, created_at=1.5)
    write_record(path, record)
    assert read_record(path, ProcessRecord) == record
    assert path.stat().st_mode & 0o777 == 0o600
    assert [item.name for item in path.parent.iterdir()] == ["server.json"]


@pytest.mark.parametrize("content", ["", '{"pid": 1', '{"pid": 1}', "[]"])
def test_half_a_record_counts_as_none(tmp_path: Path, content: str) -> None:
    path = tmp_path / "server.json"
    path.write_text(content)
    assert read_record(path, ProcessRecord) is None
    assert read_record(tmp_path / "missing.json", ProcessRecord) is None
