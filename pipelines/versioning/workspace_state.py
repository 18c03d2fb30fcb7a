"""The workspace's git state while a model is made: the commit, and what differed from it."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from pipelines.versioning import git

MAX_PATCH_BYTES = 64 * 1024
_MAX_UNTRACKED = 100


@dataclass(frozen=True)
class WorkspaceState:
    """What a run found in git.

    Attributes:
        commit: At HEAD.
        branch: None where HEAD is detached.
        patch: `git diff HEAD` of tracked files, cut to `MAX_PATCH_BYTES`; empty where nothing differs. Of binary files it holds
            digests alone.
        patch_sha256: Of the whole patch; None where nothing differs.
        n_patch_bytes: Of the whole patch.
        untracked: Names of files that git neither tracks nor ignores, the first hundred; their contents are not kept.
        n_untracked: How many there are.
    """

    commit: str
    branch: str | None
    patch: str
    patch_sha256: str | None
    n_patch_bytes: int
    untracked: tuple[str, ...]
    n_untracked: int

    def as_json(self) -> dict[str, JsonValue]:
        """For a record in git."""
        return {
            "commit": self.commit,
            "branch": self.branch,
            "is_dirty": self.patch_sha256 is not None,
            "patch_sha256": self.patch_sha256,
            "n_patch_bytes": self.n_patch_bytes,
            "patch": self.patch,
            "patch_is_whole": self.n_patch_bytes <= MAX_PATCH_BYTES,
            "untracked": list(self.untracked),
            "n_untracked": self.n_untracked,
        }


def workspace_state(root: Path) -> WorkspaceState:
    """The state of now.

    Raises:
        ConfigurationError: `root` is no git repository with a commit.
    """
    # Full digests, so that the patch's own digest also tells two versions of a binary file apart.
    patch = git.run_git(root, "diff", "HEAD", "--no-color", "--no-ext-diff", "--no-textconv", "--full-index")
    untracked = [os.fsdecode(name) for name in git.run_git(root, "ls-files", "-z", "--others", "--exclude-standard").split(b"\0") if name]
    return WorkspaceState(
        commit=git.rev_parse(root, "HEAD"),
        branch=git.run_git(root, "branch", "--show-current").decode().strip() or None,
        patch=patch[:MAX_PATCH_BYTES].decode(errors="replace"),
        patch_sha256=hashlib.sha256(patch).hexdigest() if patch else None,
        n_patch_bytes=len(patch),
        untracked=tuple(sorted(untracked)[:_MAX_UNTRACKED]),
        n_untracked=len(untracked),
    )
