"""Process workers: what takes the runs of a work pool and carries them out on this machine."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from flows.background import LogPlace, ProcessRecord, is_alive, read_record, spawn, stop, write_record
from flows.environment import API_URL, environment_without_server
from pipelines.core.errors import ConfigurationError, RegraftError
from pipelines.progress import Progress, silent
from pipelines.workspace import Workspace

_ACTIVITY = "starting the Prefect worker"
_STOP_GRACE_SECONDS = 8.0


class WorkerRecord(ProcessRecord):
    """A worker's process, its pool and its name in Prefect."""

    pool: str
    name: str


@dataclass(frozen=True)
class RunningWorker:
    """A worker that asks its pool for runs.

    Attributes:
        pool: The work pool.
        name: In Prefect.
        pid: Of its process.
    """

    pool: str
    name: str
    pid: int


def pool_name(project: str) -> str:
    """The work pool of a project."""
    return f"regraft-{project}"


def ensure_work_pool(name: str) -> str:
    """Makes a process work pool where there is none of that name; one that exists keeps its type and settings.

    Returns:
        The pool's type, for example `process` or `kubernetes`.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
    from prefect.workers.process import ProcessWorker

    with get_client(sync_client=True) as client:
        try:
            return client.read_work_pool(name).type
        except ObjectNotFound:
            template = ProcessWorker.get_default_base_job_template()
        try:
            return client.create_work_pool(WorkPoolCreate(name=name, type="process", base_job_template=template)).type
        except ObjectAlreadyExists:  # another command was faster
            return client.read_work_pool(name).type


def start_worker(
    workspace: Workspace,
    pool: str,
    *,
    max_runs: int = 4,
    query_seconds: float = 2.0,
    progress: Progress = silent,
    deadline_seconds: float = 120,
) -> RunningWorker:
    """Starts a worker of the server in use, or returns the one that this workspace has started for the pool.

    `apply_environment` must have been called: the worker uses the same server as this process.

    Args:
        workspace: Holds the record and the log.
        pool: A work pool that exists.
        max_runs: Runs that it carries out at the same time.
        query_seconds: How often it asks for work.
        progress: Told the seconds waited, of the deadline.
        deadline_seconds: How long it may take until the server lists it as online.

    Raises:
        ConfigurationError: No server is named: a temporary one would end with this process.
        RegraftError: It ended or did not come online in time; the end of its log is in the message.
    """
    if worker := running_worker(workspace, pool):
        return worker
    name = f"{pool}-{int(time.time())}"
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool, "--name", name]
    command += ["--limit", str(max_runs), "--install-policy", "never"]
    process, log = spawn(command, _environment(workspace, query_seconds), workspace.root, workspace.logs / "prefect-worker.log")
    record = WorkerRecord(**process.model_dump(), pool=pool, name=name)
    online = False
    try:
        _wait_until_online(record, log, progress, deadline_seconds)
        write_record(_record_path(workspace, pool), record)
        online = True
    finally:
        if not online:
            stop(record, grace_seconds=2.0)
    return RunningWorker(pool=pool, name=name, pid=record.pid)


def running_worker(workspace: Workspace, pool: str) -> RunningWorker | None:
    """The worker that this workspace started for the pool, if that very process still runs."""
    record = read_record(_record_path(workspace, pool), WorkerRecord)
    return RunningWorker(record.pool, record.name, record.pid) if record and is_alive(record) else None


def stop_worker(workspace: Workspace, pool: str, *, grace_seconds: float = _STOP_GRACE_SECONDS) -> bool:
    """Stops the worker that this workspace started for the pool, and after the grace also the runs it carries out.

    Returns:
        Whether there was one.
    """
    path = _record_path(workspace, pool)
    record = read_record(path, WorkerRecord)
    if record is None:
        return False
    was_alive = is_alive(record)
    stop(record, grace_seconds)
    path.unlink(missing_ok=True)
    return was_alive


@contextmanager
def prefect_worker(workspace: Workspace, pool: str, *, query_seconds: float = 2.0, progress: Progress = silent) -> Iterator[RunningWorker]:
    """A worker for the length of a `with` block; one that ran before stays. See `start_worker`."""
    ran_before = running_worker(workspace, pool) is not None
    worker = start_worker(workspace, pool, query_seconds=query_seconds, progress=progress)
    try:
        yield worker
    finally:
        if not ran_before:
            stop_worker(workspace, pool)


def _environment(workspace: Workspace, query_seconds: float) -> dict[str, str]:
    from prefect.settings import PREFECT_API_URL

    url = PREFECT_API_URL.value()
    if url is None:
        raise ConfigurationError(
            got="no Prefect server for the worker: PREFECT_API_URL is not set and this workspace has started none.",
            allowed="a server that outlives this command.",
            next_step="start the workspace's server first, or export PREFECT_API_URL.",
        )
    return {
        **environment_without_server(workspace),
        API_URL: url,
        "PREFECT_WORKER_QUERY_SECONDS": f"{query_seconds:g}",
    }


def _wait_until_online(record: WorkerRecord, log: LogPlace, progress: Progress, deadline_seconds: float) -> None:
    started = time.monotonic()
    while not _is_online(record):
        waited = time.monotonic() - started
        alive = is_alive(record)
        if not alive or waited > deadline_seconds:
            problem = f"is not online after {waited:.0f} s" if alive else f"ended after {waited:.0f} s"
            raise RegraftError(
                got=f"a Prefect worker of pool {record.pool} that {problem}; the end of its log:\n{log.tail()}\n",
                allowed="a worker that the server lists as online.",
                next_step=f"read {log.path}; check that the work pool exists, then try again.",
            )
        progress(_ACTIVITY, int(waited), int(deadline_seconds))
        time.sleep(0.5)
    progress(_ACTIVITY, int(deadline_seconds), int(deadline_seconds))


def _is_online(record: WorkerRecord) -> bool:
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound

    with get_client(sync_client=True) as client:
        try:
            workers = client.read_workers_for_work_pool(record.pool)
        except ObjectNotFound:
            return False
    return any(worker.name == record.name for worker in workers)


def _record_path(workspace: Workspace, pool: str) -> Path:
    return workspace.prefect_home / f"worker-{pool}.json"
