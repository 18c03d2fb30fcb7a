from __future__ import annotations

import subprocess
import threading
import time
from pathlib import Path

import pytest

from pipelines.core.errors import ConfigurationError
from pipelines.versioning import git


def plain_git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "repository"
    root.mkdir()
    plain_git(root, "init", "--quiet", "--initial-branch=main", "--template=")
    plain_git(root, "config", "user.name", "Ada Tester")
    plain_git(root, "config", "user.email", "ada@example.org")
    (root / "first").write_text("1")
    git.commit_paths(root, "First", ["first"])
    return root


def test_commit_paths_takes_the_named_paths_and_leaves_what_else_is_staged(repository: Path) -> None:
    (repository / "theirs").write_text("staged by a person")
    plain_git(repository, "add", "theirs")
    (repository / ".gitignore").write_text("*.json\n")
    (repository / "record.json").write_text("{}")
    (repository / "first").unlink()
    commit = git.commit_paths(repository, "Records", ["record.json", "first", "never-was"])
    assert plain_git(repository, "show", "--name-status", "--format=%s", commit).split() == ["Records", "D", "first", "A", "record.json"]
    assert plain_git(repository, "diff", "--cached", "--name-only") == "theirs"


def test_a_deletion_that_was_staged_before_is_committed(repository: Path) -> None:
    plain_git(repository, "rm", "--quiet", "first")
    git.commit_paths(repository, "Without it", ["first", "never-was"])
    assert plain_git(repository, "ls-tree", "HEAD") == ""


def test_commit_paths_without_a_change_makes_no_commit(repository: Path) -> None:
    before = git.rev_parse(repository, "HEAD")
    assert git.commit_paths(repository, "Again", ["first"]) == before


def test_commit_is_refused_without_an_identity_and_none_is_made_up(repository: Path) -> None:
    plain_git(repository, "config", "--unset", "user.email")
    (repository / "second").write_text("2")
    with pytest.raises(ConfigurationError, match=r"no git identity.*git config --global user\.name.*git config --global user\.email"):
        git.commit_paths(repository, "Second", ["second"])
    assert plain_git(repository, "log", "--format=%s") == "First"


def test_identity_is_read_as_git_reads_it(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert git.identity(repository) == git.Identity("Ada Tester", "ada@example.org")
    monkeypatch.setenv("GIT_COMMITTER_NAME", "Build <Bot> 7")
    monkeypatch.setenv("GIT_COMMITTER_EMAIL", "bot@example.org")
    assert git.identity(repository).email == "bot@example.org"


def test_neither_hooks_nor_signatures_can_stop_a_commit(repository: Path) -> None:
    hook = repository / ".git" / "hooks" / "pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nread answer < /dev/tty || exit 1\n")
    hook.chmod(0o755)
    plain_git(repository, "config", "commit.gpgSign", "true")
    plain_git(repository, "config", "gpg.program", "false")
    (repository / "second").write_text("2")
    with pytest.raises(subprocess.CalledProcessError, match="returned non-zero"):  # so a person's commit would be stopped
        plain_git(repository, "commit", "--quiet", "--all", "--message", "by hand")
    git.commit_paths(repository, "Second", ["second"])
    assert plain_git(repository, "log", "-1", "--format=%s") == "Second"


def test_a_folder_inside_another_repository_is_not_that_repository(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = repository / ".regraft" / "demo"
    inside.mkdir(parents=True)
    # As inside a hook of the outer repository.
    for name, value in {"GIT_DIR": ".git", "GIT_WORK_TREE": ".", "GIT_INDEX_FILE": ".git/index"}.items():
        monkeypatch.setenv(name, str(repository / value))
    for name in ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL"):
        monkeypatch.setenv(name, "ada@example.org")
    with pytest.raises(
        ConfigurationError, match=r"no git repository whose top is this folder.*one around it is never written to.*regraft init"
    ):
        git.require_top_level(inside)
    with pytest.raises(git.GitError, match="not a git repository"):
        git.commit_paths(inside, "Into the outer one", ["first"])
    monkeypatch.undo()
    assert plain_git(repository, "log", "--format=%s") == "First"


def test_a_work_tree_elsewhere_is_not_the_top_level(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    plain_git(repository, "config", "core.worktree", str(tmp_path / "elsewhere"))
    with pytest.raises(ConfigurationError, match="part of the git repository"):
        git.require_top_level(repository)


def test_a_workspace_behind_a_symbolic_link_is_its_own_top_level(repository: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(repository)
    git.require_top_level(link)


def test_a_lock_that_goes_away_is_waited_for(repository: Path) -> None:
    lock = repository / ".git" / "index.lock"
    lock.touch()
    threading.Timer(0.5, lock.unlink).start()
    (repository / "second").write_text("2")
    started = time.monotonic()
    git.commit_paths(repository, "Second", ["second"])
    assert time.monotonic() - started > 0.4


def test_a_lock_that_stays_is_named(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(git, "_INDEX_LOCK_WAIT_SECONDS", 0.3)
    (repository / ".git" / "index.lock").touch()
    (repository / "second").write_text("2")
    with pytest.raises(git.GitError, match=r"index\.lock.*if none is running, a killed one left the \.lock file"):
        git.commit_paths(repository, "Second", ["second"])


def test_detached_head_is_refused(repository: Path) -> None:
    plain_git(repository, "checkout", "--quiet", "--detach")
    with pytest.raises(ConfigurationError, match=r"a detached HEAD.*a branch.*switch main"):
        git.commit_paths(repository, "Lost", ["first"])


@pytest.mark.parametrize("rev", ["nowhere", "--all", "-n1", ""])
def test_unknown_revision_is_named(repository: Path, rev: str) -> None:
    with pytest.raises(ConfigurationError, match=r"names no commit.*regraft history"):
        git.rev_parse(repository, rev)


def test_read_blobs_gives_exact_bytes_and_says_what_is_missing(repository: Path) -> None:
    contents = {"empty": b"", "newlines": b"\n\nblob 3\nabc\n", "binary": bytes(range(256))}
    for name, content in contents.items():
        (repository / name).write_bytes(content)
    (repository / "folder").mkdir()
    (repository / "folder" / "file").touch()
    git.commit_paths(repository, "Contents", [*contents, "folder"])
    names = ["HEAD:empty", "HEAD:nothing", "HEAD:folder", "HEAD:newlines", f"{'0' * 40}:empty", "HEAD:binary"]
    blobs = git.read_blobs(repository, names)
    assert blobs == dict(zip(names, [b"", None, None, contents["newlines"], None, contents["binary"]], strict=True))


def test_is_dirty_and_last_commit(repository: Path) -> None:
    assert not git.is_dirty(repository)
    assert git.last_commit(repository, "first") == git.rev_parse(repository, "HEAD")
    assert git.last_commit(repository, "second") is None
    (repository / "second").touch()
    assert git.is_dirty(repository)
    assert not git.is_dirty(repository, "first")


def test_missing_git_is_said(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(repository))
    with pytest.raises(git.GitError, match=r"no git executable.*install git"):
        git.rev_parse(repository, "HEAD")


def test_the_workspace_of_the_fixtures_is_whole(place) -> None:
    git.require_top_level(place.root)
    assert Path(plain_git(place.root, "rev-parse", "--show-toplevel")).samefile(place.root)
