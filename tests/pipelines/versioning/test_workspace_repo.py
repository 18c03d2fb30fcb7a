from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pipelines.core.errors import ConfigurationError
from pipelines.versioning.dataset import commit_dataset
from pipelines.versioning.workspace_repo import init_repository

IDENTITY = ("Ada Tester", "ada@example.org")


def plain_git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


def test_a_new_workspace_is_whole_and_a_second_call_changes_nothing(tmp_path: Path) -> None:
    root, remote = tmp_path / "workspace", tmp_path / "storage"
    commit = init_repository(root, remote, IDENTITY)
    assert plain_git(root, "ls-files").split() == [".dvc/.gitignore", ".dvc/config", ".dvcignore", ".gitignore"]
    assert plain_git(root, "branch", "--show-current") == "main"
    config = (root / ".dvc" / "config").read_text()
    assert all(
        line in config for line in ("analytics = false", "check_update = false", "autostage = true", "remote = storage", str(remote))
    )
    assert (root / ".gitignore").read_text() == "/.regraft/\n"
    assert remote.is_dir()
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file() and ".git/" not in str(path)}
    assert init_repository(root, remote, None) == commit
    assert {path: path.read_bytes() for path in before} == before
    assert plain_git(root, "status", "--porcelain") == ""


def test_a_repository_with_history_keeps_it(tmp_path: Path) -> None:
    root = tmp_path / "workspace"
    root.mkdir()
    plain_git(root, "init", "--quiet", "--initial-branch=trunk")
    (root / ".gitignore").write_text("*.log")
    (root / "notes").write_text("theirs")
    plain_git(root, "add", "notes")
    init_repository(root, tmp_path / "storage", IDENTITY)
    assert plain_git(root, "branch", "--show-current") == "trunk"
    assert (root / ".gitignore").read_text() == "*.log\n/.regraft/\n"
    assert plain_git(root, "diff", "--cached", "--name-only") == "notes"


def test_inside_another_repository_the_outer_one_is_untouched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outer = tmp_path / "clone"
    init_repository(outer, tmp_path / "outer-storage", IDENTITY)
    inner = outer / ".regraft" / "demo"
    seen = {path: path.read_bytes() for path in outer.rglob("*") if path.is_file()}
    monkeypatch.setenv("GIT_DIR", str(outer / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(outer))
    init_repository(inner, outer / ".regraft" / "storage", ("Demo", "demo@example.org"))
    (inner / "data").mkdir()
    (inner / "data" / "labels.csv").write_text("path,label\n")
    commit_dataset(inner, "Data")
    monkeypatch.undo()
    assert {path: path.read_bytes() for path in seen} == seen
    assert {path for path in outer.rglob("*") if path.is_file() and ".regraft" not in path.parts} == set(seen)
    assert plain_git(outer, "log", "--format=%an %s") == "Ada Tester Start a Regraft workspace"
    assert plain_git(inner, "log", "--format=%an %s").split("\n") == ["Demo Data", "Demo Start a Regraft workspace"]


def test_without_an_identity_nothing_is_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no git identity.*user\.name.*user\.email"):
        init_repository(tmp_path / "workspace", tmp_path / "storage", None)
    assert list((tmp_path / "workspace").iterdir()) == []


def test_hooks_of_a_git_template_do_not_come_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hook = tmp_path / "template" / "hooks" / "pre-commit"
    hook.parent.mkdir(parents=True)
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    monkeypatch.setenv("GIT_TEMPLATE_DIR", str(tmp_path / "template"))
    init_repository(tmp_path / "workspace", tmp_path / "storage", IDENTITY)
    assert not list((tmp_path / "workspace" / ".git").glob("hooks/*"))


@pytest.mark.parametrize("place", [".", "storage", ".regraft/storage"])
def test_a_remote_inside_the_workspace_is_refused(tmp_path: Path, place: str) -> None:
    with pytest.raises(ConfigurationError, match=r"inside the workspace.*a folder outside.*choose another"):
        init_repository(tmp_path / "workspace", tmp_path / "workspace" / place, IDENTITY)
    assert not (tmp_path / "workspace").exists()


def test_another_remote_is_refused(tmp_path: Path) -> None:
    init_repository(tmp_path / "workspace", tmp_path / "storage", IDENTITY)
    with pytest.raises(ConfigurationError, match=r"the remote .*other, while .* has .*storage"):
        init_repository(tmp_path / "workspace", tmp_path / "other", IDENTITY)
    assert not (tmp_path / "other").exists()


def test_half_made_repositories_are_named(tmp_path: Path) -> None:
    root = tmp_path / "workspace"
    (root / ".dvc").mkdir(parents=True)
    with pytest.raises(ConfigurationError, match=r"\.dvc without \.git\..*restore \.git"):
        init_repository(root, tmp_path / "storage", IDENTITY)
    plain_git(root, "init", "--quiet")
    with pytest.raises(ConfigurationError, match=r"\.dvc without \.dvc/config\..*git checkout"):
        init_repository(root, tmp_path / "storage", IDENTITY)


def test_an_interrupted_start_is_completed(tmp_path: Path) -> None:
    root = tmp_path / "workspace"
    init_repository(root, tmp_path / "storage", IDENTITY)
    plain_git(root, "update-ref", "-d", "HEAD")  # before the commit
    plain_git(root, "rm", "--quiet", "--cached", "-r", ".")
    (root / ".dvc" / "config").write_text("[core]\n    analytics = false\n")  # before the remote
    init_repository(root, tmp_path / "storage", IDENTITY)
    assert plain_git(root, "log", "--format=%s") == "Start a Regraft workspace"
    assert "remote = storage" in plain_git(root, "show", "HEAD:.dvc/config")


def test_data_before_a_remote_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "workspace"
    init_repository(root, tmp_path / "storage", IDENTITY)
    (root / ".dvc" / "config").write_text("")
    (root / "data.dvc").write_text("outs: []\n")
    with pytest.raises(ConfigurationError, match=r"without a default remote.*from the first dataset version on.*dvc remote add"):
        init_repository(root, tmp_path / "storage", IDENTITY)
