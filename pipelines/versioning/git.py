"""The git executable, as typed functions. Nothing here reads or writes outside the workspace.

A workspace may lie inside another clone (`.regraft/demo` does), which must never be committed to: git may not look above the
workspace (GIT_CEILING_DIRECTORIES), and the variables by which an outer git command points at its own repository are dropped.

Commits carry no signature and run no hooks: they are written by software, unattended. A passphrase dialogue or a hook that asks
something would stop a retraining at night, and a signature would say that a person had vouched for it. Where a server demands
signatures, sign a merge commit.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.core.errors import ConfigurationError

_TIMEOUT_SECONDS = 120
_INDEX_LOCK_WAIT_SECONDS = 10
_SETTINGS = (
    f"core.hooksPath={os.devnull}",
    "commit.gpgSign=false",
    # Without an identity git makes one up from the host's name; this makes it refuse.
    "user.useConfigOnly=true",
    # Both leave a process behind that keeps our pipes open.
    "core.fsmonitor=false",
    "gc.auto=0",
    "core.quotePath=false",
)
_LOCK_SIGN = ".lock': File exists"
_OUTER_REPOSITORY_VARIABLES = (
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_COMMON_DIR",
    "GIT_NAMESPACE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_PREFIX",
    "GIT_TEMPLATE_DIR",
)


class GitError(ConfigurationError):
    """A git command that could not do its work, with what git said."""

    code = "git"


class GitRefusedError(GitError):
    """A git command that ran and answered with an error: what it was asked for is not there."""


class GitLockedError(GitError):
    """Another git process holds a lock, or a killed one left it behind."""


@dataclass(frozen=True)
class Identity:
    """Whose name a commit or tag carries."""

    name: str
    email: str


def run_git(root: Path, *arguments: str, stdin: bytes = b"") -> bytes:
    """Runs `git ARGUMENTS` in the workspace and returns its standard output.

    Raises:
        GitError: git is missing, failed, took longer than 120 s, or found the repository locked for 10 s.
    """
    try:
        return _run_once(root, arguments, stdin)
    except GitLockedError:
        from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

        # A git process whose parent was killed may still be finishing: its lock goes away by itself.
        when, until = retry_if_exception_type(GitLockedError), stop_after_delay(_INDEX_LOCK_WAIT_SECONDS)
        return Retrying(retry=when, stop=until, wait=wait_fixed(0.2), reraise=True)(_run_once, root, arguments, stdin)


def _run_once(root: Path, arguments: Sequence[str], stdin: bytes) -> bytes:
    settings = [part for setting in _SETTINGS for part in ("-c", setting)]
    command = ["git", *settings, "-C", str(root), *arguments]
    try:
        return subprocess.run(
            command, input=stdin, capture_output=True, env=_environment(root), timeout=_TIMEOUT_SECONDS, check=True
        ).stdout
    except FileNotFoundError as error:
        raise GitError(
            "no git executable.", "git 2.28 or newer on the PATH.", "install git, for example with `apt-get install git`."
        ) from error
    except subprocess.TimeoutExpired as error:
        raise GitError(
            f"`git {arguments[0]}` that took longer than {_TIMEOUT_SECONDS} s in {root}.",
            "a git command that ends.",
            "run it by hand to see what it waits for.",
        ) from error
    except subprocess.CalledProcessError as error:
        raise _failed(root, arguments, " ".join(error.stderr.decode(errors="replace").split())) from error


def _failed(root: Path, arguments: Sequence[str], said: str) -> GitError:
    got = f"`git {arguments[0]}` that failed in {root}: {said}."
    if _LOCK_SIGN in said:
        return GitLockedError(
            got=got,
            allowed="one git command at a time.",
            next_step="wait for the other git process; if none is running, a killed one left the .lock file that git names: delete it.",
        )
    return GitRefusedError(
        got=got,
        allowed="a git repository that this command can work in.",
        next_step=f"read git's message and run `git -C {root} status`.",
    )


def _environment(root: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in _OUTER_REPOSITORY_VARIABLES}
    # Discovery stops below the ceiling, so only a repository whose top is `root` is ever found.
    return kept | {
        "GIT_CEILING_DIRECTORIES": str(root.resolve().parent),
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_EDITOR": "true",
        "LC_ALL": "C",
        "LANGUAGE": "C",
    }


def require_top_level(root: Path) -> None:
    """Makes sure that the workspace is a git repository of its own.

    Raises:
        ConfigurationError: It is none, or belongs to a repository around it.
    """
    try:
        top = Path(os.fsdecode(run_git(root, "rev-parse", "--show-toplevel").rstrip(b"\n")))
    except GitRefusedError as error:
        raise _not_top_level(root, f"no git repository whose top is this folder ({error.got})") from error
    if not top.is_dir() or not top.samefile(root):
        raise _not_top_level(root, f"part of the git repository {top}")


def _not_top_level(root: Path, what: str) -> ConfigurationError:
    return ConfigurationError(
        got=f"the workspace {root}, which is {what}.",
        allowed="a workspace that is itself the top of a git repository; one around it is never written to.",
        next_step="make one with `regraft init`, or run `git init` in the workspace.",
    )


def identity(root: Path) -> Identity:
    """Whose name the workspace's commits and tags carry.

    Raises:
        ConfigurationError: None is configured. None is made up: the registry is an audit trail.
    """
    try:
        lines = [run_git(root, "var", variable) for variable in ("GIT_AUTHOR_IDENT", "GIT_COMMITTER_IDENT")]
    except GitRefusedError as error:
        raise ConfigurationError(
            got=f"no git identity for {root}.",
            allowed="a name and an email address: every version and promotion says who made it.",
            next_step="run `git config --global user.name 'YOUR NAME'` and `git config --global user.email you@example.org`.",
        ) from error
    name, _, rest = lines[1].decode().rpartition(" <")
    return Identity(name, rest.partition(">")[0])


def rev_parse(root: Path, rev: str) -> str:
    """The full id of the commit that `rev` names.

    Raises:
        ConfigurationError: There is no such commit.
    """
    try:
        return run_git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{rev}^{{commit}}").decode().strip()
    except GitRefusedError as error:
        raise ConfigurationError(
            got=f"the revision {rev!r}, which names no commit in {root}.",
            allowed="a commit id, a tag or a branch.",
            next_step="list the versions with `regraft history`, or the commits with `git log --oneline`.",
        ) from error


def is_dirty(root: Path, *paths: str) -> bool:
    """Whether any of `paths` (relative to the workspace; none: everything) differs from HEAD, untracked files included."""
    return bool(run_git(root, "status", "--porcelain", "--", *paths).strip())


def commit_paths(root: Path, message: str, paths: Sequence[str]) -> str:
    """Commits exactly `paths`, whether added, changed or deleted; what else is staged stays staged.

    Args:
        root: The workspace.
        message: Of the commit.
        paths: Relative to the workspace. Paths that neither exist nor are tracked are passed over.

    Returns:
        Id of the commit at HEAD, which is an older one if nothing had changed.

    Raises:
        ConfigurationError: No identity, a detached HEAD, or git refused.
    """
    identity(root)
    _require_branch(root)
    staged, committed = _tracked_paths(root, paths)
    addable = [path for path in paths if path in staged or (root / path).exists()]
    if addable:
        run_git(root, "add", "--force", "--", *addable)  # a team's .gitignore may name *.json
    # A deletion that an interrupted commit had staged is in neither place, only in HEAD.
    known = [path for path in paths if path in addable or path in committed]
    if known and is_dirty(root, *known):
        run_git(root, "commit", "--quiet", "--message", message, "--only", "--", *known)
    return rev_parse(root, "HEAD")


def _tracked_paths(root: Path, paths: Sequence[str]) -> tuple[set[str], set[str]]:
    staged = run_git(root, "ls-files", "-z", "--", *paths)
    try:
        committed = run_git(root, "ls-tree", "-r", "-z", "--name-only", "HEAD", "--", *paths)
    except GitRefusedError:  # before the first commit
        committed = b""
    return set(os.fsdecode(staged).split("\0")), set(os.fsdecode(committed).split("\0"))


def _require_branch(root: Path) -> None:
    if not run_git(root, "branch", "--show-current").strip():
        raise ConfigurationError(
            got=f"a detached HEAD in {root}.",
            allowed="a branch: a commit on none is lost at the next checkout.",
            next_step=f"run `git -C {root} switch main`, or `git switch -c NAME` to keep what you see.",
        )


def last_commit(root: Path, path: str) -> str | None:
    """Id of the latest commit that changed `path`; None if none did."""
    return run_git(root, "log", "-1", "--format=%H", "--", path).decode().strip() or None


def read_blobs(root: Path, names: Sequence[str]) -> Mapping[str, bytes | None]:
    """Contents of files in git, in one call.

    Args:
        root: The workspace.
        names: `COMMIT:PATH` each.

    Returns:
        Contents by name; None where the commit or the file is not there.
    """
    output = run_git(root, "cat-file", "--batch", stdin="".join(f"{name}\n" for name in names).encode())
    contents: dict[str, bytes | None] = {}
    start = 0
    for name in names:
        end = output.index(b"\n", start)
        header = output[start:end].split(b" ")
        start = end + 1
        if header[-1] == b"missing" or header[1] != b"blob":
            contents[name] = None
            start += 0 if header[-1] == b"missing" else int(header[2]) + 1
        else:
            contents[name] = output[start : start + int(header[2])]
            start += int(header[2]) + 1
    return contents
