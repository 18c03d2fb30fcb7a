"""A digest of the sources that answer requests, so that an endpoint can be told from another one with other code."""

from __future__ import annotations

import hashlib
from pathlib import Path

_FOLDERS = ("serving", "pipelines/core")
# Tools around an endpoint; a Bento does not carry them.
NOT_SHIPPED = frozenset({"serving/build.py", "serving/process.py", "serving/verify.py", "serving/latency.py", "serving/client.py"})


def shipped_sources(root: Path) -> list[str]:
    """Names of the source files that a Bento carries, relative to `root` and sorted."""
    names = ["pipelines/__init__.py"]
    names += [path.relative_to(root).as_posix() for folder in _FOLDERS for path in (root / folder).rglob("*.py")]
    return sorted(set(names) - NOT_SHIPPED)


def source_digest(root: Path) -> str:
    """sha256 over names and contents of the shipped sources below `root`."""
    digest = hashlib.sha256()
    for name in shipped_sources(root):
        content = (root / name).read_bytes()
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def own_root() -> Path:
    """The folder that holds the packages this code was loaded from."""
    return Path(__file__).resolve().parent.parent
