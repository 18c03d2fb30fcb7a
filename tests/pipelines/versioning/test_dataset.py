from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import subprocess
import threading
from pathlib import Path

import pytest
from dvc.repo import Repo

from pipelines.core.errors import ConfigurationError, DataError, IntegrityError
from pipelines.versioning import dvc_repository
from pipelines.versioning.dataset import commit_dataset, dataset_version, parse_dvc_file, restore_dataset

N_FILES = 5


def directory_digest(folder: Path) -> str:
    """DVC's digest, from its definition."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    listing = [
        {"md5": hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest(), "relpath": path.relative_to(folder).as_posix()}
        for path in files
    ]
    text = json.dumps(sorted(listing, key=lambda entry: entry["relpath"]), sort_keys=True)
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest() + ".dir"


def objects(store: Path) -> set[str]:
    """md5 sums whose file is there and holds those bytes."""
    found = {path: path.parent.name + path.name for path in store.glob("files/md5/??/*")}
    return {
        name
        for path, name in found.items()
        if hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() == name.removesuffix(".dir")
    }


def remove_object(store: Path, content: bytes) -> None:
    name = hashlib.md5(content, usedforsecurity=False).hexdigest()
    (store / "files" / "md5" / name[:2] / name[2:]).unlink()


def test_a_version_is_the_digest_of_names_and_contents_and_is_in_the_remote(place) -> None:
    version = dataset_version(place.root)
    assert version.digest == directory_digest(place.root / "data")
    assert version.n_files == N_FILES
    assert version.git_commit == place.git("log", "--format=%H", "--", "data.dvc").split()[-1]
    assert len(objects(place.remote)) == N_FILES + 1


def test_committing_again_without_a_change_makes_no_commit(place) -> None:
    before = dataset_version(place.root)
    assert commit_dataset(place.root, "Again") == before
    assert place.git("log", "-1", "--format=%s") != "Again"


@pytest.mark.slow
def test_a_clone_gets_the_same_data_with_dvc_alone(place, tmp_path: Path) -> None:
    (place.root / "data" / "images" / "new.png").write_bytes(b"new image")
    version = commit_dataset(place.root, "One more")
    subprocess.run(["git", "clone", "--quiet", place.root, tmp_path / "clone"], check=True)
    with Repo(str(tmp_path / "clone")) as repo:
        repo.pull()
    assert directory_digest(tmp_path / "clone" / "data") == version.digest == directory_digest(place.root / "data")


def test_data_that_differs_is_listed(place) -> None:
    images = place.root / "data" / "images"
    (images / "0.png").write_bytes(b"changed")
    (images / "1.png").unlink()
    (images / "new.png").write_bytes(b"new")
    with pytest.raises(ConfigurationError, match=r"3 files differ .*regraft data commit -m WHY.*dvc checkout data\.dvc") as caught:
        dataset_version(place.root)
    found = [(finding.where, finding.problem) for finding in caught.value.findings]
    assert found == [("data/images/0.png", "changed"), ("data/images/1.png", "is gone"), ("data/images/new.png", "is new")]


def test_a_change_of_equal_size_and_time_that_is_a_new_file_is_seen(place) -> None:
    path = place.root / "data" / "images" / "0.png"
    dataset_version(place.root)  # so that DVC's state database knows the file
    before = path.stat()
    (path.parent / "other").write_bytes(b"imagE 0")
    (path.parent / "other").replace(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(ConfigurationError, match="1 file differs"):
        dataset_version(place.root)


def test_missing_data_is_named(place) -> None:
    shutil.rmtree(place.root / "data")
    with pytest.raises(ConfigurationError, match="data is not there"):
        dataset_version(place.root)
    with pytest.raises(ConfigurationError, match=r"no files in .*regraft ingest"):
        commit_dataset(place.root, "Nothing")


def test_a_version_that_git_does_not_have_is_not_used(place) -> None:
    (place.root / "data" / "images" / "0.png").write_bytes(b"changed")
    with Repo(str(place.root)) as repo:
        repo.add(str(place.root / "data"))
    with pytest.raises(ConfigurationError, match=r"not what git has at HEAD.*regraft data commit"):
        dataset_version(place.root)
    assert commit_dataset(place.root, "Finish") == dataset_version(place.root)


def test_no_version_yet_says_how_to_make_one(place) -> None:
    (place.root / "data.dvc").unlink()
    with pytest.raises(ConfigurationError, match=r"data\.dvc that is not there.*regraft data commit -m WHY"):
        dataset_version(place.root)


@pytest.mark.parametrize("content", [b"", b"outs: []", b"outs: [{md5: a.dir}]", b"[", b"outs: [{md5: a.dir, nfiles: many}]"])
def test_a_file_that_is_no_dvc_file_is_refused(content: bytes) -> None:
    with pytest.raises(ConfigurationError, match=r"models/bundle\.dvc that does not name a tracked directory.*git checkout"):
        parse_dvc_file(content, "models/bundle.dvc")


def test_a_remote_that_is_gone_is_not_made_anew_and_nothing_is_committed(place) -> None:
    head, data_file = place.git("rev-parse", "HEAD"), (place.root / "data.dvc").read_bytes()
    place.remote.rename(place.remote.with_name("unmounted"))
    (place.root / "data" / "images" / "new.png").write_bytes(b"new image")
    with pytest.raises(ConfigurationError, match=r"its folder is not there.*nothing was committed"):
        commit_dataset(place.root, "One more")
    assert not place.remote.exists()
    assert (place.git("rev-parse", "HEAD"), (place.root / "data.dvc").read_bytes()) == (head, data_file)
    place.remote.with_name("unmounted").rename(place.remote)
    assert commit_dataset(place.root, "One more") == dataset_version(place.root)
    assert len(objects(place.remote)) == N_FILES + 3


def test_a_remote_that_cannot_be_written_is_named(place) -> None:
    shutil.rmtree(place.remote / "files")
    (place.remote / "files").write_text("in the way")
    (place.root / "data" / "images" / "new.png").write_bytes(b"new image")
    head = place.git("rev-parse", "HEAD")
    with pytest.raises(ConfigurationError, match=r"the DVC remote .*cannot be used.*mount or restore it"):
        commit_dataset(place.root, "One more")
    assert place.git("rev-parse", "HEAD") == head


def test_files_missing_from_the_remote_are_put_back_where_dvc_believes_its_index(place) -> None:
    remove_object(place.remote, b"image 0")
    with Repo(str(place.root)) as repo:
        assert repo.push() == 0  # DVC sees the folder's listing and believes the rest
    commit_dataset(place.root, "Again")
    assert len(objects(place.remote)) == N_FILES + 1


def test_a_file_that_is_nowhere_stops_the_commit(place) -> None:
    remove_object(place.remote, b"image 0")
    remove_object(place.root / ".dvc" / "cache", b"image 0")
    with Repo(str(place.root)) as repo:
        assert repo.push() == 0
    with (
        pytest.raises(IntegrityError, match=r"1 files that are neither in DVC's cache nor in its remote"),
        dvc_repository.open_dvc(place.root) as repo,
    ):
        dvc_repository.push_objects(repo, parse_dvc_file((place.root / "data.dvc").read_bytes(), "data.dvc").hash_info)


@pytest.mark.parametrize("text", ["[core]\n", "[core]\n    remote = s\n['remote \"s\"']\n    url = /tmp\n    worktree = true\n"])
def test_a_remote_that_objects_cannot_be_pushed_to_is_refused(place, text: str) -> None:
    (place.root / ".dvc" / "config").write_text(text)
    with pytest.raises(ConfigurationError, match=r"no DVC remote that objects can be pushed to.*dvc remote add --default"):
        commit_dataset(place.root, "Again")


def test_a_dvc_lock_that_is_released_is_waited_for(place) -> None:
    with Repo(str(place.root)) as other:
        other.lock.lock()
        threading.Timer(1.0, other.lock.unlock).start()
        assert dataset_version(place.root).n_files == N_FILES


@pytest.mark.slow
def test_a_dvc_lock_that_stays_is_named(place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dvc_repository, "LOCK_WAIT_SECONDS", 0.1)
    with (
        Repo(str(place.root)) as other,
        other.lock,
        pytest.raises(ConfigurationError, match=r"another DVC process that has kept .* locked for 0\.1 s.*run the command again"),
    ):
        dataset_version(place.root)


def test_a_workspace_without_dvc_does_not_use_the_one_around_it(place) -> None:
    inner = place.root / ".regraft" / "inner"
    shutil.copytree(place.root / ".git", inner / ".git")
    shutil.copy(place.root / "data.dvc", inner)
    with pytest.raises(ConfigurationError, match=r"without \.dvc/config.*regraft init"):
        dataset_version(inner)


def test_restoring_brings_back_the_bytes_as_a_new_commit(place) -> None:
    first, listing = dataset_version(place.root), {path.name for path in (place.root / "data" / "images").iterdir()}
    (place.root / "data" / "images" / "0.png").write_bytes(b"changed")
    (place.root / "data" / "images" / "new.png").write_bytes(b"new")
    commit_dataset(place.root, "Second")
    shutil.rmtree(place.root / ".dvc" / "cache")  # so everything comes from the remote
    restored = restore_dataset(place.root, first.git_commit)
    assert (restored.digest, restored.n_files) == (first.digest, first.n_files)
    assert restored.git_commit == place.git("rev-parse", "HEAD") != first.git_commit
    assert {path.name for path in (place.root / "data" / "images").iterdir()} == listing
    assert dataset_version(place.root) == restored


def test_restoring_does_not_lose_what_no_version_holds(place) -> None:
    first = dataset_version(place.root)
    (place.root / "data" / "images" / "new.png").write_bytes(b"new")
    commit_dataset(place.root, "Second")
    (place.root / "data" / "images" / "unsaved.png").write_bytes(b"unsaved")
    with pytest.raises(DataError, match=r"1 file that no dataset version holds: images/unsaved\.png.*regraft data commit") as caught:
        restore_dataset(place.root, first.git_commit)
    assert [finding.where for finding in caught.value.findings] == ["data/images/unsaved.png"]
    assert (place.root / "data" / "images" / "unsaved.png").read_bytes() == b"unsaved"


def test_an_interrupted_restore_can_be_run_again(place) -> None:
    first, content = dataset_version(place.root), (place.root / "data.dvc").read_bytes()
    (place.root / "data" / "images" / "0.png").write_bytes(b"changed")
    (place.root / "data" / "images" / "new.png").write_bytes(b"new")
    commit_dataset(place.root, "Second")
    (place.root / "data.dvc").write_bytes(content)  # as after a kill in the middle: the file is written,
    (place.root / "data" / "images" / "0.png").write_bytes(b"image 0")  # one sample is back, the other still there
    assert restore_dataset(place.root, first.git_commit).digest == first.digest
    assert dataset_version(place.root).digest == first.digest


def test_restoring_from_nowhere_is_refused(place) -> None:
    with pytest.raises(ConfigurationError, match=r"'v9', which names no commit"):
        restore_dataset(place.root, "v9")
    start = place.git("rev-list", "--max-parents=0", "HEAD")
    with pytest.raises(ConfigurationError, match=r"data\.dvc that is not there"):
        restore_dataset(place.root, start)


def test_committed_files_stay_writable(place) -> None:
    mode = (place.root / "data" / "images" / "0.png").stat().st_mode
    assert mode & stat.S_IWUSR
