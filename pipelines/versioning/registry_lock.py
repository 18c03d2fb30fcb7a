"""One writer at a time in a workspace.

GTO numbers its tags by counting and git overwrites nothing only if asked to, so two writers could take the same number. The lock is
the kernel's (flock): it goes away with its process, however that ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.core.errors import ConfigurationError

WAIT_SECONDS = 120


@contextmanager
def registry_lock(root: Path, wait_seconds: float = WAIT_SECONDS) -> Iterator[None]:
    """Holds the workspace's lock for writing commits and tags.

    Raises:
        ConfigurationError: Another process held it for all of `wait_seconds`.
    """
    from filelock import FileLock, Timeout

    path = root / ".dvc" / "tmp" / "regraft.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=wait_seconds)
    except Timeout as error:
        raise ConfigurationError(
            got=f"another process that has been writing versions in {root} for more than {wait_seconds:g} s.",
            allowed="one writer at a time.",
            next_step="wait until it is done and run the command again; `fuser .dvc/tmp/regraft.lock` names it.",
        ) from error
    try:
        yield
    finally:
        lock.release()
