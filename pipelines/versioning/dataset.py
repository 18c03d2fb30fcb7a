"""Dataset versions: `data/` as DVC tracks it, and the digest in `data.dvc` as git keeps it.

The digest is that of DVC: md5 over the sorted list of relative paths and md5 sums, so it depends on names and contents alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from pipelines.core.errors import ConfigurationError, DataError, Finding
from pipelines.versioning import git
from pipelines.versioning.dvc_repository import fetch_objects, open_dvc, push_objects, require_remote, wait_for_dvc
from pipelines.versioning.registry_lock import registry_lock

if TYPE_CHECKING:
    from dvc.repo import Repo
    from dvc_data.hashfile.hash_info import HashInfo
    from dvc_data.hashfile.tree import Tree

DATA = "data"
DATA_FILE = "data.dvc"
_MAX_FINDINGS = 20


@dataclass(frozen=True)
class DatasetVersion:
    """A state of `data/` that git names and DVC keeps.

    Attributes:
        digest: md5 of the listing, with the suffix `.dir`.
        n_files: Files in `data/`, the labels table included.
        git_commit: The commit that introduced it.
    """

    digest: str
    n_files: int
    git_commit: str


@dataclass(frozen=True)
class TrackedDirectory:
    """What a `.dvc` file says of a directory."""

    digest: str
    n_files: int

    @property
    def hash_info(self) -> HashInfo:
        """The digest, as DVC's own type."""
        from dvc_data.hashfile.hash_info import HashInfo

        return HashInfo("md5", self.digest)


def parse_dvc_file(content: bytes | None, where: str) -> TrackedDirectory:
    """Reads a `.dvc` file that tracks one directory.

    Raises:
        ConfigurationError: It is missing, or is no such file.
    """
    try:
        output = yaml.safe_load(content or b"")["outs"][0]
        return TrackedDirectory(digest=str(output["md5"]), n_files=int(output["nfiles"]))
    except (yaml.YAMLError, TypeError, KeyError, IndexError, ValueError) as error:
        raise ConfigurationError(
            got=f"{where} that {'is not there' if content is None else f'does not name a tracked directory ({error!r})'}.",
            allowed="a .dvc file that DVC wrote for a directory.",
            next_step="make the dataset's first version with `regraft data commit -m WHY`."
            if where.endswith(DATA_FILE)
            else "restore the file with `git checkout -- FILE`.",
        ) from error


def commit_dataset(root: Path, message: str) -> DatasetVersion:
    """Makes what is in `data/` the dataset version in use: DVC's cache, then the remote, then git.

    The order means that what git names can always be fetched. With nothing changed it makes no commit.

    Raises:
        ConfigurationError: No data, no identity, no remote, or a lock that stays.
        IntegrityError: A file vanished while it was being stored.
    """
    git.require_top_level(root)
    git.identity(root)
    if not any((root / DATA).glob("*")):
        raise ConfigurationError(
            got=f"no files in {root / DATA}.",
            allowed="a labels table and its samples.",
            next_step="put them there, for example with `regraft ingest FOLDER`.",
        )
    with registry_lock(root):
        with open_dvc(root) as repo:
            require_remote(repo)  # before data.dvc is touched
            wait_for_dvc(root, lambda: repo.add(str(root / DATA)))
            tracked = parse_dvc_file((root / DATA_FILE).read_bytes(), DATA_FILE)
            wait_for_dvc(root, lambda: _push(repo, tracked))
        git.commit_paths(root, message, [DATA_FILE, ".gitignore"])
        return DatasetVersion(tracked.digest, tracked.n_files, _commit_of_data(root))


def _push(repo: Repo, tracked: TrackedDirectory) -> None:
    with repo.lock:
        push_objects(repo, tracked.hash_info)


def dataset_version(root: Path) -> DatasetVersion:
    """The dataset version in use, after comparing `data/` with it.

    Files whose size, time and inode are as DVC last saw them are not read again.

    Raises:
        ConfigurationError: There is no version yet, `data.dvc` is not committed, or `data/` differs from it.
    """
    git.require_top_level(root)
    tracked = committed_dataset(root)
    with open_dvc(root) as repo:
        changes = wait_for_dvc(root, lambda: _changes(repo, root, tracked))
    if changes:
        raise ConfigurationError(
            got=f"{DATA}/, in which {len(changes)} {'file differs' if len(changes) == 1 else 'files differ'} "
            f"from the committed version {tracked.digest}: "
            + "; ".join(f"{change.where} {change.problem}" for change in changes[:3])
            + ("; and more." if len(changes) > 3 else "."),
            allowed="data/ exactly as data.dvc names it, so that a model can be traced to its data.",
            next_step="make it a version with `regraft data commit -m WHY`, or go back with `dvc checkout data.dvc`.",
            findings=changes[:_MAX_FINDINGS],
        )
    return DatasetVersion(tracked.digest, tracked.n_files, _commit_of_data(root))


def committed_dataset(root: Path) -> TrackedDirectory:
    """What `data.dvc` says, having made sure that the file is the one at HEAD.

    Raises:
        ConfigurationError: There is none, or it is not committed.
    """
    committed = git.read_blobs(root, [f"HEAD:{DATA_FILE}"])[f"HEAD:{DATA_FILE}"]
    present = (root / DATA_FILE).read_bytes() if (root / DATA_FILE).is_file() else None
    tracked = parse_dvc_file(present, DATA_FILE)
    if committed is None or parse_dvc_file(committed, f"HEAD:{DATA_FILE}") != tracked:
        raise ConfigurationError(
            got=f"{DATA_FILE} that names {tracked.digest}, which is not what git has at HEAD.",
            allowed="a dataset version that is committed.",
            next_step="finish it with `regraft data commit -m WHY`, "
            "or go back with `git checkout -- data.dvc` and `dvc checkout data.dvc`.",
        )
    return tracked


def _commit_of_data(root: Path) -> str:
    return git.last_commit(root, DATA_FILE) or git.rev_parse(root, "HEAD")


def _changes(repo: Repo, root: Path, tracked: TrackedDirectory) -> list[Finding]:
    with repo.lock:
        current = _current_tree(repo, root)
        if current is None or current.hash_info == tracked.hash_info:
            return [] if current else [Finding(DATA, "is not there")]
        old = {"/".join(key): info.value for key, _, info in fetch_objects(repo, tracked.hash_info)}
    new = {"/".join(key): info.value for key, _, info in current}
    kinds = [
        ("is new", new.keys() - old.keys()),
        ("is gone", old.keys() - new.keys()),
        ("changed", {path for path in new.keys() & old.keys() if new[path] != old[path]}),
    ]
    return sorted((Finding(f"{DATA}/{path}", problem) for problem, paths in kinds for path in paths), key=lambda finding: finding.where)


def _current_tree(repo: Repo, root: Path) -> Tree | None:
    # What `dvc status` does, without rehashing what its state database knows.
    from dvc_data.hashfile.build import IgnoreInCollectedDirError, build
    from dvc_data.hashfile.tree import Tree

    if not any((root / DATA).glob("*")):
        return None
    try:
        _, _, tree = build(repo.cache.local, str(root / DATA), repo.fs, "md5", ignore=repo.dvcignore, dry_run=True)
    except IgnoreInCollectedDirError as error:
        raise ConfigurationError(
            got=f"{DATA}/ with a .dvcignore in it: {error}.", allowed="data only.", next_step="move the .dvcignore to the workspace's top."
        ) from error
    if not isinstance(tree, Tree):
        raise ConfigurationError(
            got=f"{DATA}, which is a file.", allowed="a folder.", next_step="move the file into a folder of that name."
        )
    return tree


def restore_dataset(root: Path, rev: str, message: str | None = None) -> DatasetVersion:
    """Makes the dataset of an earlier commit the version in use again, as a new commit.

    Args:
        root: The workspace.
        rev: A commit id, tag or branch.
        message: Of the commit.

    Raises:
        ConfigurationError: `rev` has no dataset.
        DataError: `data/` has files that no version holds, which would be lost; all are listed.
        IntegrityError: Files of that version are neither in the cache nor in the remote.
    """
    git.require_top_level(root)
    git.identity(root)
    commit = git.rev_parse(root, rev)
    name = f"{commit}:{DATA_FILE}"
    with registry_lock(root):
        content = git.read_blobs(root, [name])[name]
        wanted = parse_dvc_file(content, name)
        with open_dvc(root) as repo:
            wait_for_dvc(root, lambda: _check_out(repo, root, wanted, content or b""))
        git.commit_paths(root, message or f"Restore the dataset of {commit[:12]}", [DATA_FILE])
    return DatasetVersion(wanted.digest, wanted.n_files, _commit_of_data(root))


def _check_out(repo: Repo, root: Path, wanted: TrackedDirectory, content: bytes) -> None:
    with repo.lock:
        target = fetch_objects(repo, wanted.hash_info)
        _refuse_unversioned(repo, root, target)
    (root / DATA_FILE).write_bytes(content)
    repo.checkout(targets=[str(root / DATA_FILE)], force=True)


def _refuse_unversioned(repo: Repo, root: Path, target: Tree) -> None:
    # Both versions count as known: an interrupted restore leaves a mixture of the two.
    current = _current_tree(repo, root)
    committed = git.read_blobs(root, [f"HEAD:{DATA_FILE}"])[f"HEAD:{DATA_FILE}"]
    kept = [target] + ([fetch_objects(repo, parse_dvc_file(committed, DATA_FILE).hash_info)] if committed else [])
    known = {info.value for tree in kept for _, _, info in tree}
    lost = ["/".join(key) for key, _, info in current or () if info.value not in known]
    if lost:
        raise DataError(
            got=f"{DATA}/ with {len(lost)} {'file' if len(lost) == 1 else 'files'} that no dataset version holds: "
            f"{', '.join(lost[:3])}{' and more' if len(lost) > 3 else ''}.",
            allowed="restoring over files that can be had again.",
            next_step="make them a version with `regraft data commit -m WHY`, or delete them.",
            findings=[Finding(f"{DATA}/{path}", "is in no dataset version") for path in lost],
        )
