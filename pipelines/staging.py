"""Builds a folder beside its place and renames it in, so that a crash leaves nothing half done."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def staged_folder(target: Path) -> Iterator[Path]:
    """Gives an empty folder that becomes `target` when the block ends without an error.

    Raises:
        OSError: `target` holds something already; it is left as it is.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    # A folder inside of the private one: mkdtemp's own is closed to all other users, and would stay so.
    outer = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    inner = outer / target.name
    inner.mkdir()
    try:
        yield inner
        inner.rename(target)
    finally:
        shutil.rmtree(outer, ignore_errors=True)


def is_vacant(target: Path) -> bool:
    """Whether a folder could be renamed to `target`: nothing is there, or an empty folder."""
    return not target.exists() or (target.is_dir() and not any(target.iterdir()))
