"""Rows of float32 by sample, kept in files that are only ever appended to.

    ROOT/FINGERPRINT/space.json   what the rows are made of, and their shape
    ROOT/FINGERPRINT/rows         row after row, memory-mapped for reading
    ROOT/FINGERPRINT/index        for each row, in the same order: whose it is and its checksum

A row is written and on the disk before the index names it, and the index's own records carry a checksum: whatever is cut off or torn by a
kill or a full disk is no row, and what was damaged later is found when it is read. Nothing here is needed: a folder, or all of them, may
be deleted at any time, and what is missing is computed again. Folders that no run used for `UNUSED_DAYS` go by themselves.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import struct
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from pipelines.core.bundle import canonical_json
from pipelines.exclusive import exclusive, if_free
from pipelines.staging import replace_file

# A project that is trained once a month keeps its features; those of code and libraries that are gone do not pile up.
UNUSED_DAYS = 45
_CHECK_BYTES = 8
_DESCRIPTION, _ROWS, _INDEX = "space.json", "rows", "index"
# sha256 of the sample's id, checksum of the row, checksum of this record and its place.
_RECORD = struct.Struct(f"32s{_CHECK_BYTES}s{_CHECK_BYTES}s")


class RowStore:
    """The rows of one space: of one network, preprocessing and machine, as `key` says.

    Not for several threads. Several processes may use one space at once: whoever writes holds its lock.
    """

    def __init__(self, root: Path, key: Mapping[str, JsonValue]) -> None:
        """Opens a space; nothing is written before `writing`."""
        self._root = root
        self._key = dict(key)
        self._fingerprint = hashlib.sha256(canonical_json(self._key)).hexdigest()
        self.folder = root / self._fingerprint
        self._shape: tuple[int, ...] | None = None
        self._slots: dict[bytes, int] = {}
        self._checks: list[bytes] = []  # of the row in each slot; empty where the slot's record is no valid one
        self._rows: NDArray[np.float32] | None = None
        self._index_file: tuple[int, int] | None = None
        self._refresh()
        with suppress(OSError):  # how long it was not used is told by this file's time
            os.utime(self.folder / _DESCRIPTION)

    def missing(self, identities: Iterable[str]) -> list[str]:
        """Those that have no intact row, each once, in their order."""
        return [identity for identity in dict.fromkeys(identities) if not self._is_intact(_digest(identity))]

    def read(self, identity: str) -> NDArray[np.float32] | None:
        """A row that `missing` did not name, as the file holds it; read-only. Nothing where there is none."""
        slot = self._slots.get(_digest(identity))
        return None if slot is None or self._rows is None else self._rows[slot]

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Waits until no other process writes into this space and sees what they wrote; to be held while `append` is called.

        Raises:
            OSError: The folder cannot be written to.
        """
        self._root.mkdir(parents=True, exist_ok=True)
        with exclusive(_lock(self._root, self._fingerprint)):
            self._remove_unused()
            self.folder.mkdir(exist_ok=True)
            self._refresh()
            yield

    def append(self, identities: Sequence[str], rows: NDArray[np.float32]) -> None:
        """Adds rows, and returns when they are on the disk.

        Args:
            identities: Of the samples; who has an intact row keeps it.
            rows: [b, ...], one for each.

        Raises:
            OSError: The disk is full, or cannot be written to. What was there before stays usable.
        """
        fresh = [place for place, identity in enumerate(identities) if not self._is_intact(_digest(identity))]
        if self._shape is None:
            self._begin(rows.shape[1:])
        if self._shape != rows.shape[1:]:
            raise ValueError(f"rows of shape {rows.shape[1:]} in a space of {self._shape}")
        if not fresh:
            return
        first = len(self._checks)
        contents = [np.ascontiguousarray(rows[place], dtype="<f4").tobytes() for place in fresh]
        records = [
            _record(slot, _digest(identities[place]), _check(content))
            for slot, (place, content) in enumerate(zip(fresh, contents, strict=True), start=first)
        ]
        _write_at(self.folder / _ROWS, first * self._row_bytes, contents)
        _write_at(self.folder / _INDEX, first * _RECORD.size, records)
        self._refresh()

    @property
    def _row_bytes(self) -> int:
        return 4 * math.prod(self._shape or ())

    def _begin(self, shape: tuple[int, ...]) -> None:
        # Rows under a description that cannot be read are rows that nobody can read.
        for name in (_INDEX, _ROWS):
            (self.folder / name).unlink(missing_ok=True)
        self._forget()
        replace_file(self.folder / _DESCRIPTION, canonical_json({"key": self._key, "shape": list(shape)}), self.folder)
        self._shape = shape

    def _forget(self) -> None:
        self._shape, self._rows, self._index_file = None, None, None
        self._slots, self._checks = {}, []

    def _refresh(self) -> None:
        """Sees what was appended since; all of it anew where the files are others."""
        index_file = _identity(self.folder / _INDEX)
        if index_file != self._index_file:
            self._forget()
        self._index_file = index_file
        self._shape = _read_shape(self.folder / _DESCRIPTION, self._key)
        if self._shape is None or index_file is None:
            return
        records = _read_from(self.folder / _INDEX, len(self._checks) * _RECORD.size)
        n_rows = _size(self.folder / _ROWS) // self._row_bytes
        for slot, (identity, row_check, check) in enumerate(_whole_records(records), start=len(self._checks)):
            valid = check == _record_check(slot, identity, row_check)
            self._checks.append(row_check if valid else b"")
            if valid and slot < n_rows:
                self._slots[identity] = slot
        self._rows = _mapped(self.folder / _ROWS, n_rows, self._shape)

    def _is_intact(self, identity: bytes) -> bool:
        slot = self._slots.get(identity)
        if slot is None or self._rows is None:
            return False
        if _check(self._rows[slot].data) == self._checks[slot]:
            return True
        del self._slots[identity]
        return False

    def _remove_unused(self) -> None:
        for space in self._root.iterdir():
            used = _modified(space / _DESCRIPTION)
            if space != self.folder and used is not None and time.time() - used > UNUSED_DAYS * 86_400:
                with if_free(_lock(self._root, space.name)) as free:
                    if free:
                        shutil.rmtree(space, ignore_errors=True)


def _lock(root: Path, fingerprint: str) -> Path:
    return root / ".locks" / fingerprint


def _digest(identity: str) -> bytes:
    return hashlib.sha256(identity.encode()).digest()


def _check(content: bytes | memoryview) -> bytes:
    return hashlib.blake2b(content, digest_size=_CHECK_BYTES).digest()


def _record_check(slot: int, identity: bytes, row_check: bytes) -> bytes:
    return _check(slot.to_bytes(8, "little") + identity + row_check)


def _record(slot: int, identity: bytes, row_check: bytes) -> bytes:
    return _RECORD.pack(identity, row_check, _record_check(slot, identity, row_check))


def _whole_records(content: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    return _RECORD.iter_unpack(content[: len(content) // _RECORD.size * _RECORD.size])


def _write_at(path: Path, offset: int, contents: Sequence[bytes]) -> None:
    """Writes to the disk from `offset` on; what an error leaves behind it is cut off again."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
    try:
        os.lseek(descriptor, offset, os.SEEK_SET)
        left = memoryview(b"".join(contents))
        while left:
            left = left[os.write(descriptor, left) :]
        os.fsync(descriptor)
    except OSError:
        os.ftruncate(descriptor, offset)
        raise
    finally:
        os.close(descriptor)


def _read_from(path: Path, offset: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read()
    except OSError:  # deleted this moment, or not ours to read: there are no rows then
        return b""


def _mapped(path: Path, n_rows: int, shape: tuple[int, ...]) -> NDArray[np.float32] | None:
    try:
        return np.memmap(path, dtype="<f4", mode="r", shape=(n_rows, *shape)) if n_rows else None
    except (OSError, ValueError):
        return None


def _read_shape(path: Path, key: Mapping[str, JsonValue]) -> tuple[int, ...] | None:
    try:
        content = json.loads(path.read_bytes())
        shape = tuple(int(size) for size in content["shape"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return shape if content["key"] == key and all(size > 0 for size in shape) else None


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _modified(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except OSError:
        return None
