"""The pointer file: whole or not there, and wrong ones are named."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from pipelines.core.errors import IntegrityError
from serving.pointer import pointer_signature, read_pointer, write_pointer

A, B = "a" * 16, "b" * 16


def test_round_trip_and_relative_paths(tmp_path: Path) -> None:
    file = tmp_path / "serving" / "pointer.json"
    write_pointer(file, A, Path("bundles") / A)
    assert read_pointer(file).path == tmp_path / "serving" / "bundles" / A
    write_pointer(file, B, tmp_path / "elsewhere")
    assert (read_pointer(file).bundle, read_pointer(file).path) == (B, tmp_path / "elsewhere")
    assert [path.name for path in file.parent.iterdir()] == ["pointer.json"]


def test_writing_the_same_again_changes_the_signature(tmp_path: Path) -> None:
    file = tmp_path / "pointer.json"
    assert pointer_signature(file) is None
    write_pointer(file, A, tmp_path)
    first = pointer_signature(file)
    write_pointer(file, A, tmp_path)
    assert pointer_signature(file) != first


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read"),
        (b"", "is no JSON"),
        (b"[" * 100_000, "is no JSON"),
        (b"\xff", "is no JSON"),
        (b"[]", "has wrong entries"),
        (b'{"bundle": "../x", "path": "x"}', "has wrong entries"),
        (b'{"bundle": "aaaaaaaaaaaaaaaa", "path": ""}', "has wrong entries"),
        (b'{"bundle": "aaaaaaaaaaaaaaaa", "path": "x", "more": 1}', "has wrong entries"),
    ],
)
def test_a_wrong_pointer_is_named(tmp_path: Path, content: bytes | None, said: str) -> None:
    file = tmp_path / "pointer.json"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(IntegrityError, match=f"the pointer file pointer.json, which {said}.*regraft promote"):
        read_pointer(file)


def test_a_reader_never_sees_half_of_it(tmp_path: Path) -> None:
    file = tmp_path / "pointer.json"
    write_pointer(file, A, tmp_path / ("long" * 200))
    stop = threading.Event()

    def write() -> None:
        for _ in range(30):
            write_pointer(file, B, Path("b"))
            write_pointer(file, A, tmp_path / ("long" * 200))
        stop.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = set()
    while not stop.is_set():
        seen.add(read_pointer(file).bundle)
    writer.join()
    assert seen == {A, B}
