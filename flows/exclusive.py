"""One retraining of a workspace at a time, whoever starts it: a person, a schedule, the automation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from pipelines.core.errors import RefusedError
from pipelines.workspace import Workspace


@contextmanager
def only_retraining(workspace: Workspace) -> Iterator[None]:
    """Holds the workspace's lock; the kernel frees it when the process ends, however it ends.

    Raises:
        RefusedError: Another retraining holds it.
    """
    workspace.state.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(workspace.state / "retrain.lock", timeout=0):
            yield
    except Timeout as error:
        raise RefusedError(
            got="a retraining of this workspace that is under way.",
            allowed="one at a time.",
            next_step="wait for its end (`regraft status` shows it), then run the command again.",
        ) from error
