"""One writer of a workspace at a time: a retraining, an ingestion, a commit of data, whoever starts it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from pipelines.core.errors import RefusedError
from pipelines.workspace import Workspace

# Whoever only asks whether the lock is held has it for a moment, too.
_LEAST_WAIT_SECONDS = 0.5


@contextmanager
def only_writer(workspace: Workspace, wait_seconds: float = 0) -> Iterator[None]:
    """Holds the workspace's lock, so that the data do not change under a run that is learning from them.

    The kernel frees it when the process ends, however it ends.

    Args:
        workspace: Whose lock.
        wait_seconds: For another process that holds it.

    Raises:
        RefusedError: Another process holds it.
    """
    workspace.state.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(_path(workspace), timeout=max(wait_seconds, _LEAST_WAIT_SECONDS)):
            yield
    except Timeout as error:
        raise RefusedError(
            got="a retraining or an ingestion of this workspace that is under way.",
            allowed="one at a time.",
            next_step="wait for its end (`regraft status` shows it), then run the command again.",
        ) from error


def is_writing(workspace: Workspace) -> bool:
    """Whether another process holds the workspace's lock now; it may have ended a moment later."""
    if not workspace.state.is_dir():
        return False
    try:
        with FileLock(_path(workspace), timeout=0):
            return False
    except Timeout:
        return True


def _path(workspace: Workspace) -> Path:
    return workspace.state / "retrain.lock"
