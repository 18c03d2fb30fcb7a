"""Making a workspace's git and DVC repositories."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.core.errors import ConfigurationError
from pipelines.versioning import git
from pipelines.versioning.dataset import DATA_FILE
from pipelines.versioning.dvc_repository import open_dvc, quiet_dvc

if TYPE_CHECKING:
    from dvc.repo import Repo

REMOTE_NAME = "storage"
_IGNORED = "/.regraft/"
_SETTINGS = {"analytics": "false", "check_update": "false", "autostage": "true"}


def init_repository(root: Path, remote: Path, identity: tuple[str, str] | None) -> str:
    """Makes `root` a git and DVC repository with a default remote, and commits that. May be called again; what is there is kept.

    The remote comes before any data: `dvc get --rev` reads the configuration of the revision it is asked for.

    Args:
        root: Made if it is missing. A repository around it is not touched.
        remote: Folder outside the workspace where DVC keeps the second copy of data and bundles; made if it is missing.
        identity: Name and email address for this repository alone; None: what git is configured with.

    Returns:
        Id of the commit at HEAD.

    Raises:
        ConfigurationError: No identity, or a half-made repository that must be looked at first.
    """
    root = root.expanduser().absolute()
    remote = remote.expanduser().absolute()
    _refuse_inside(root, remote)
    root.mkdir(parents=True, exist_ok=True)
    _refuse_half_made(root)
    if identity is None:
        git.identity(root)  # before anything is made
    if not (root / ".git").exists():
        git.run_git(root, "init", "--quiet", "--initial-branch=main", "--template=")  # no hooks from a user's template
    git.require_top_level(root)
    if identity is not None:
        git.run_git(root, "config", "--local", "user.name", identity[0])
        git.run_git(root, "config", "--local", "user.email", identity[1])
    _init_dvc(root, remote)
    _ignore_state(root)
    return git.commit_paths(root, "Start a Regraft workspace", [".dvc/config", ".dvc/.gitignore", ".dvcignore", ".gitignore"])


def _refuse_inside(root: Path, remote: Path) -> None:
    if remote.resolve().is_relative_to(root.resolve()):
        raise ConfigurationError(
            got=f"the remote {remote} inside the workspace {root}.",
            allowed="a folder outside: the remote is the second copy, and must outlive the workspace.",
            next_step=f"choose another, for example {root}-storage.",
        )


def _refuse_half_made(root: Path) -> None:
    problem = None
    if (root / ".dvc").exists() and not (root / ".git").exists():
        problem = (".dvc without .git", "restore .git, or delete .dvc if nothing in it is needed")
    elif (root / ".dvc").exists() and not (root / ".dvc" / "config").is_file():
        problem = (".dvc without .dvc/config", "restore it with `git checkout -- .dvc`, or delete .dvc if it holds no cache")
    if problem:
        raise ConfigurationError(
            got=f"a half-made repository in {root}: {problem[0]}.",
            allowed="an empty folder, a git repository, or a workspace that this command made.",
            next_step=f"{problem[1]}, and run the command again.",
        )


def _init_dvc(root: Path, remote: Path) -> None:
    if not (root / ".dvc").exists():
        from dvc.repo import Repo

        with quiet_dvc():
            Repo.init(str(root)).close()
    with open_dvc(root) as repo:
        present = _configured_remote(repo)
        if present is None and (root / DATA_FILE).exists():
            raise ConfigurationError(
                got=f"{DATA_FILE} in {root}, a repository without a default remote.",
                allowed="a remote from the first dataset version on: `dvc get --rev` uses the remote of that revision.",
                next_step="run `dvc remote add --default storage FOLDER` and `dvc push --all-commits`, commit .dvc/config, "
                "and run the command again.",
            )
        if present is not None and Path(present) != remote:
            raise ConfigurationError(
                got=f"the remote {remote}, while {root} has {present}.",
                allowed="the remote that the repository has.",
                next_step="change it knowingly with `dvc remote modify`.",
            )
        remote.mkdir(parents=True, exist_ok=True)
        with repo.config.edit("repo") as config:
            config["core"].update(_SETTINGS | {"remote": REMOTE_NAME} if present is None else _SETTINGS)
            if present is None:
                config["remote"][REMOTE_NAME] = {"url": str(remote)}


def _configured_remote(repo: Repo) -> str | None:
    name = repo.config["core"].get("remote")
    return str(repo.config["remote"][name]["url"]) if name in repo.config["remote"] else None


def _ignore_state(root: Path) -> None:
    path = root / ".gitignore"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    if _IGNORED not in text.split("\n"):
        path.write_text(text + ("" if not text or text.endswith("\n") else "\n") + _IGNORED + "\n", encoding="utf-8")
