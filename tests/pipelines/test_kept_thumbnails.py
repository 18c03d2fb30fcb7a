"""A file is decoded once, and again when it changes; what was kept badly is made again."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from pipelines import kept_thumbnails as module
from pipelines.core.bundle import file_sha256
from pipelines.kept_thumbnails import Thumbnail, kept_thumbnails
from pipelines.near_duplicates import thumbnail
from tests.pipelines.planted import picture, write_files


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that were decoded."""
    names: list[str] = []
    made = module._made

    def counted(file: Path) -> Thumbnail | None:
        names.append(file.name)
        return made(file)

    monkeypatch.setattr(module, "_made", counted)
    return names


def look(root: Path, *names: str) -> list[Thumbnail | None]:
    return kept_thumbnails(root / "data", names, root / "thumbnails.npz", root / "staging")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_files(tmp_path / "data", {"a.png": picture(0), "b.png": picture(1), "text.txt": b"no picture"})
    return tmp_path


def test_each_file_is_decoded_once(root: Path, decoded: list[str]) -> None:
    first = look(root, "a.png", "b.png")
    decoded.clear()
    again = look(root, "a.png", "b.png")
    assert decoded == []
    for name, one, other in zip(("a.png", "b.png"), first, again, strict=True):
        assert one is not None
        assert other is not None
        assert one.sha256 == other.sha256 == file_sha256(root / "data" / name)
        assert np.array_equal(one.pixels, other.pixels)
        assert np.array_equal(one.pixels, thumbnail((root / "data" / name).read_bytes()))


def test_a_changed_and_a_new_file_are_decoded(root: Path, decoded: list[str]) -> None:
    look(root, "a.png", "b.png")
    decoded.clear()
    write_files(root / "data", {"b.png": picture(2), "c.png": picture(3)})
    os.utime(root / "data" / "b.png", ns=(1, 1))
    found = look(root, "a.png", "b.png", "c.png")
    assert sorted(decoded) == ["b.png", "c.png"]
    assert found[1] is not None
    assert found[1].sha256 == file_sha256(root / "data" / "b.png")


def test_what_is_no_picture_has_none(root: Path) -> None:
    assert [one is None for one in look(root, "text.txt", "a.png", "missing.png")] == [True, False, True]


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 torn"])
def test_what_cannot_be_read_is_made_again(root: Path, decoded: list[str], content: bytes) -> None:
    (root / "thumbnails.npz").write_bytes(content)
    assert look(root, "a.png")[0] is not None
    assert decoded == ["a.png"]
    decoded.clear()
    look(root, "a.png")
    assert decoded == []


def test_a_file_of_other_arrays_is_made_again(root: Path) -> None:
    np.savez(root / "thumbnails.npz", names=np.array(["a.png"]), stamps=np.zeros((1, 3)), digests=np.array(["x"]), thumbnails=np.zeros(1))
    assert look(root, "a.png")[0] is not None
