"""Thumbnails of the samples in `data/`, kept between ingestions: what is new is compared with them, and nothing is decoded twice."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.core.errors import DataError
from pipelines.known_content import file_size
from pipelines.near_duplicates import thumbnail
from pipelines.staging import replace_file

_N_THREADS = 8
_SIDE_PX = 32
_ARRAYS = ("names", "stamps", "digests", "thumbnails")


@dataclass(frozen=True, eq=False)
class Thumbnail:
    """What is compared of a file.

    Attributes:
        sha256: Of its bytes.
        pixels: uint8 [32, 32], grey.
    """

    sha256: str
    pixels: NDArray[np.uint8]


def kept_thumbnails(data_dir: Path, paths: Sequence[str], keep: Path, staging: Path) -> list[Thumbnail | None]:
    """The thumbnails of files, from what was kept where the file is as it was then: size, time and inode, as DVC tells it.

    Args:
        data_dir: That paths are relative to.
        paths: Each once.
        keep: File (.npz) that is read, and written anew where a file had to be decoded. One that cannot be read is made again.
        staging: Folder for the unfinished file, on the same file system.

    Returns:
        One for each path; None for what is no picture.
    """
    known = _read(keep)
    stamps = [_stamp(data_dir / path) for path in paths]
    old = [known.get((path, stamp)) for path, stamp in zip(paths, stamps, strict=True)]
    missing = [place for place, found in enumerate(old) if found is None and stamps[place] is not None]
    with ThreadPoolExecutor(_N_THREADS) as pool:
        made = dict(zip(missing, pool.map(lambda place: _made(data_dir / paths[place]), missing), strict=True))
    found = [made.get(place, thumb) for place, thumb in enumerate(old)]
    if any(thumb is not None for thumb in made.values()):
        _write(keep, staging, [(path, stamp, thumb) for path, stamp, thumb in zip(paths, stamps, found, strict=True) if stamp and thumb])
    return found


_Stamp = tuple[int, int, int]


def _stamp(file: Path) -> _Stamp | None:
    if file_size(file) is None:
        return None
    seen = file.stat()
    return seen.st_size, seen.st_mtime_ns, seen.st_ino


def _made(file: Path) -> Thumbnail | None:
    try:
        content = file.read_bytes()
        return Thumbnail(hashlib.sha256(content).hexdigest(), thumbnail(content))
    # Validation says what is wrong with it.
    except (DataError, OSError):
        return None


def _read(keep: Path) -> dict[tuple[str, _Stamp | None], Thumbnail]:
    if not keep.is_file():
        return {}
    try:
        with np.load(io.BytesIO(keep.read_bytes()), allow_pickle=False) as arrays:
            names, stamps, digests, pixels = (arrays[name] for name in _ARRAYS)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return {}
    if (
        pixels.dtype != np.uint8
        or pixels.shape[1:] != (_SIDE_PX, _SIDE_PX)
        or len({len(names), len(stamps), len(digests), len(pixels)}) > 1
    ):
        return {}
    rows = zip(names.tolist(), stamps.tolist(), digests.tolist(), pixels, strict=True)
    return {(name, (stamp[0], stamp[1], stamp[2])): Thumbnail(digest, thumb) for name, stamp, digest, thumb in rows}


def _write(keep: Path, staging: Path, rows: Sequence[tuple[str, _Stamp, Thumbnail]]) -> None:
    content = io.BytesIO()
    arrays = {
        "names": np.array([path for path, _, _ in rows]),
        "stamps": np.array([stamp for _, stamp, _ in rows], dtype=np.int64),
        "digests": np.array([thumb.sha256 for _, _, thumb in rows]),
        "thumbnails": np.stack([thumb.pixels for _, _, thumb in rows]),
    }
    np.savez(content, allow_pickle=False, **arrays)
    replace_file(keep, content.getvalue(), staging)
