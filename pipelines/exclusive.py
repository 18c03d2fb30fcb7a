"""One process at a time at one place. The lock is the kernel's (flock): it goes away with its process, however that ends."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Longer than anything that makes one folder without holding a lock.
ABANDONED_SECONDS = 24 * 3_600


@contextmanager
def exclusive(lock: Path) -> Iterator[None]:
    """Waits until no other process or thread holds the lock, however long that takes, and holds it until the block ends.

    Args:
        lock: The lock's file. It stays there, empty: to remove it would give two waiters two different locks.
    """
    from filelock import FileLock

    lock.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(lock):
        yield


@contextmanager
def if_free(lock: Path) -> Iterator[bool]:
    """Holds the lock until the block ends, or gives False at once where somebody else has it."""
    from filelock import FileLock, Timeout

    lock.parent.mkdir(parents=True, exist_ok=True)
    own = FileLock(lock)
    try:
        own.acquire(blocking=False)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        own.release()


def is_abandoned(folder: Path) -> bool:
    """Whether a folder was begun more than a day ago."""
    try:
        return time.time() - folder.stat().st_mtime > ABANDONED_SECONDS
    except FileNotFoundError:  # its owner has just finished
        return False
