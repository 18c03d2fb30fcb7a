from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipelines.core.errors import ConfigurationError, IntegrityError
from pipelines.versioning.dataset import commit_dataset
from pipelines.versioning.snapshot import export_bundle, export_commit, export_data


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_files_of_an_earlier_commit_and_nothing_else(place, tmp_path) -> None:
    place.git("add", "conf")
    place.git("commit", "--quiet", "--message", "Configure")
    earlier = place.git("rev-parse", "HEAD")
    (place.root / "conf" / "digits.yaml").write_text("project: changed\n")
    place.git("commit", "--quiet", "--all", "--message", "Change")
    before = place.git("status", "--porcelain", "--ignored")
    export_commit(place.root, earlier, tmp_path / "out")
    assert (tmp_path / "out" / "conf" / "digits.yaml").read_text() == "project: digits\n"
    assert not (tmp_path / "out" / ".git").exists()
    assert not list(tmp_path.glob("*.tar"))
    assert place.git("status", "--porcelain", "--ignored") == before
    assert place.git("worktree", "list").count("\n") == 0


def test_the_data_of_an_earlier_commit(place, tmp_path) -> None:
    earlier, before = place.git("rev-parse", "HEAD"), contents(place.root / "data")
    (place.root / "data" / "more.png").write_bytes(b"more")
    commit_dataset(place.root, "More")
    export_data(place.root, earlier, tmp_path / "data", tmp_path / "scratch")
    assert contents(tmp_path / "data") == before


def test_what_the_cache_lacks_or_holds_damaged_comes_from_the_remote_and_the_cache_stays_as_it_is(place, tmp_path) -> None:
    cached = [path for path in (place.root / ".dvc" / "cache").rglob("*") if path.is_file()]
    damaged, lost = sorted(path for path in cached if path.read_bytes().startswith(b"image"))[:2]
    damaged.chmod(0o644)
    damaged.write_bytes(b"damaged")
    lost.unlink()
    before = contents(place.root / ".dvc" / "cache")
    export_data(place.root, "HEAD", tmp_path / "data", tmp_path / "scratch")
    assert contents(tmp_path / "data") == contents(place.root / "data")
    assert contents(place.root / ".dvc" / "cache") == before


def test_without_any_cache(place, tmp_path) -> None:
    shutil.rmtree(place.root / ".dvc" / "cache")
    export_data(place.root, "HEAD", tmp_path / "data", tmp_path / "scratch")
    assert contents(tmp_path / "data") == contents(place.root / "data")
    assert contents(place.root / ".dvc" / "cache") == {}


def test_a_file_that_is_nowhere_is_an_error(place, tmp_path) -> None:
    for store in (place.root / ".dvc" / "cache", place.remote):
        for path in [path for path in store.rglob("*") if path.is_file() and path.read_bytes() == b"image 0"]:
            path.unlink()
    with pytest.raises(IntegrityError, match="neither in DVC's cache nor in its remote"):
        export_data(place.root, "HEAD", tmp_path / "data", tmp_path / "scratch")


def test_a_commit_without_a_dataset(place, tmp_path) -> None:
    first = place.git("rev-list", "--max-parents=0", "HEAD")
    with pytest.raises(ConfigurationError, match=r"data\.dvc that is not there"):
        export_data(place.root, first, tmp_path / "data", tmp_path / "scratch")


def test_a_bundle_is_verified(promoted, tmp_path) -> None:
    export_bundle(promoted.root, "digits@v0.0.1", tmp_path / "bundle", tmp_path / "scratch")
    assert (tmp_path / "bundle" / "weights.safetensors").read_bytes() == b"one"
