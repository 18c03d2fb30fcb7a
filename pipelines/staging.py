"""Builds a file or a folder elsewhere on its file system and renames it in, so that a crash leaves nothing half done."""

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


def replace_file(target: Path, content: bytes, staging: Path) -> None:
    """Writes a file at once or not at all.

    Args:
        target: Its folder is made if it is missing.
        content: All of it.
        staging: Folder for the unfinished file, on the same file system; made if it is missing. A kill leaves the unfinished file here,
            so it must not be a folder that is listed, tracked or shipped.
    """
    for folder in (target.parent, staging):
        folder.mkdir(parents=True, exist_ok=True)
    # A file inside of a private folder: a temporary file's own mode is closed to all other users, and would stay so.
    with tempfile.TemporaryDirectory(prefix="file-", dir=staging) as private:
        unfinished = Path(private) / target.name
        unfinished.write_bytes(content)
        unfinished.replace(target)


def is_vacant(target: Path) -> bool:
    """Whether a folder could be renamed to `target`: nothing is there, or an empty folder."""
    return not target.exists() or (target.is_dir() and not any(target.iterdir()))
