from __future__ import annotations

import stat
from pathlib import Path

import pytest

from pipelines.staging import is_vacant, replace_file, staged_folder
from tests.pipelines.planted import names_in


def test_folder_appears_when_finished(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "data"
    with staged_folder(target) as staging:
        (staging / "a").write_text("x")
        assert not target.exists()
    assert (target / "a").read_text() == "x"
    assert names_in(target.parent) == ["data"]


def test_nothing_is_left_of_a_failure(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="missing"), staged_folder(tmp_path / "data") as staging:
        (staging / "a").write_text((tmp_path / "missing").read_text())
    assert names_in(tmp_path) == []


def test_a_taken_place_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine").write_text("x")
    with pytest.raises(OSError, match="not empty"), staged_folder(tmp_path / "data") as staging:
        (staging / "other").write_text("y")
    assert names_in(tmp_path) == ["data"]
    assert names_in(tmp_path / "data") == ["mine"]


def test_others_may_read_it_as_usual(tmp_path: Path) -> None:
    (tmp_path / "usual").mkdir()
    with staged_folder(tmp_path / "data"):
        pass
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == stat.S_IMODE((tmp_path / "usual").stat().st_mode)


def test_vacancy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert is_vacant(tmp_path / "nothing")
    assert not is_vacant(tmp_path / "file")
    assert not is_vacant(tmp_path)


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "a.txt"
    (tmp_path / "usual").write_bytes(b"")
    for content in (b"old", b"new"):
        replace_file(target, content, tmp_path / "staging")
        assert target.read_bytes() == content
    assert names_in(target.parent) == ["a.txt"]
    assert names_in(tmp_path / "staging") == []
    assert stat.S_IMODE(target.stat().st_mode) == stat.S_IMODE((tmp_path / "usual").stat().st_mode)


def test_a_file_that_cannot_be_put_in_place_leaves_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "a" / "inside").mkdir(parents=True)
    with pytest.raises(OSError, match=r"directory"):
        replace_file(tmp_path / "a", b"new", tmp_path / "staging")
    assert names_in(tmp_path / "a") == ["inside"]
    assert names_in(tmp_path / "staging") == []
