"""Looks into files that a table or a folder names: each is read once, and what is wrong with it is said, not raised."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeVar

# Decoding leaves the interpreter lock and reading waits for the disk, so more threads than cores pay off a little.
_N_THREADS = 8
T = TypeVar("T")


@dataclass(frozen=True)
class Unusable:
    """A file that cannot be a sample.

    Attributes:
        problem: What is wrong with it, in a few words.
    """

    problem: str


def normal_path(path: str) -> str:
    """The one way to write a relative path: `./images//a.png` becomes `images/a.png`."""
    return str(PurePosixPath(path))


def inspect_files(folder: Path, paths: Sequence[str], inspect: Callable[[bytes], T], links_may_leave: bool = False) -> list[T | Unusable]:
    """Reads each file once.

    Args:
        folder: That every file must lie in.
        paths: Relative to `folder`, with forward slashes.
        inspect: Looks into a file's content.
        links_may_leave: Whether a link may point out of `folder`: for a source that is copied, not for data that is tracked.

    Returns:
        One entry for each path, in the given order.
    """
    with ThreadPoolExecutor(_N_THREADS) as pool:
        return list(pool.map(lambda path: _inspect(folder, path, links_may_leave, inspect), paths))


def _inspect(folder: Path, path: str, links_may_leave: bool, inspect: Callable[[bytes], T]) -> T | Unusable:
    content = read_file(folder, path, links_may_leave)
    return content if isinstance(content, Unusable) else inspect(content)


def read_file(folder: Path, path: str, links_may_leave: bool = False) -> bytes | Unusable:
    """The bytes of a regular file in a folder.

    Args:
        folder: That it must lie in.
        path: Relative to `folder`, with forward slashes; who wrote it need not be trusted.
        links_may_leave: As of `inspect_files`.
    """
    try:
        problem = _place_problem(folder, path, links_may_leave)
        return Unusable(problem) if problem else (folder / path).read_bytes()
    # A name with a null byte is a ValueError and a circle of links a RuntimeError.
    except (OSError, ValueError, RuntimeError) as error:
        return Unusable(f"cannot be read ({getattr(error, 'strerror', None) or error})")


def _place_problem(folder: Path, path: str, links_may_leave: bool) -> str | None:
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts:
        return f"the path leads out of {folder.name}/"
    file = folder / path
    if not file.exists():
        return "is a link to nothing" if file.is_symlink() else "no such file" + _misspelling(folder, path)
    if not file.is_file():
        return "is a folder, not a file" if file.is_dir() else "is no regular file"
    if not links_may_leave and not file.resolve().is_relative_to(folder.resolve()):
        return f"is a link that leads out of {folder.name}/ (with DVC, set cache.type to copy, reflink or hardlink)"
    return None


def _misspelling(folder: Path, path: str) -> str:
    if "\\" in path and (folder / path.replace("\\", "/")).is_file():
        return "; write forward slashes"
    here = (folder / path).parent
    nearest = [entry.name for entry in here.iterdir() if entry.name.casefold() == Path(path).name.casefold()] if here.is_dir() else []
    return f"; the folder holds {nearest[0]!r}" if nearest else ""
