"""A version's commit, its data and its bundle, written to a folder of their own; the workspace is only read."""

from __future__ import annotations

import hashlib
import shutil
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.core.bundle import read_manifest, verify_files
from pipelines.core.errors import IntegrityError
from pipelines.progress import Progress, silent
from pipelines.versioning import git
from pipelines.versioning.dataset import DATA_FILE, parse_dvc_file
from pipelines.versioning.dvc_repository import fetch_files, open_dvc
from pipelines.versioning.model_versions import BUNDLE_FILE

if TYPE_CHECKING:
    from dvc.repo import Repo
    from dvc_data.hashfile.db import HashFileDB
    from dvc_data.hashfile.hash_info import HashInfo
    from dvc_data.hashfile.tree import Tree

_PROGRESS_STEP = 100


def export_commit(root: Path, commit: str, target: Path) -> None:
    """Writes the files of a commit to `target`, which must be empty or missing.

    Not a worktree: that would be noted in the workspace's own repository, and a kill would leave the note there.
    """
    target.mkdir(parents=True, exist_ok=True)
    archive = target.with_name(f"{target.name}.tar")
    try:
        git.run_git(root, "archive", "--format=tar", f"--output={archive}", commit)
        with tarfile.open(archive) as files:
            files.extractall(target, filter="data")
    finally:
        archive.unlink(missing_ok=True)


def export_data(root: Path, commit: str, target: Path, scratch: Path, progress: Progress = silent) -> str:
    """Writes the dataset version of a commit to `target`; see `export_tracked`.

    Returns:
        The dataset's digest.
    """
    return export_tracked(root, commit, DATA_FILE, target, scratch, progress)


def export_bundle(root: Path, commit: str, target: Path, scratch: Path) -> None:
    """Writes the bundle that is registered at a commit to `target`, and verifies it by its manifest; see `export_tracked`."""
    export_tracked(root, commit, BUNDLE_FILE, target, scratch)
    verify_files(target, read_manifest(target)[0])


def export_tracked(root: Path, commit: str, dvc_file: str, target: Path, scratch: Path, progress: Progress = silent) -> str:
    """Writes a directory that DVC tracks, as a commit has it, every file compared with its md5.

    What the workspace's cache lacks, or holds damaged, is downloaded into `scratch`: the cache stays as it is.

    Args:
        root: The workspace.
        commit: With the `.dvc` file.
        dvc_file: Relative to the workspace.
        target: A folder that is missing or empty.
        scratch: For a cache of this call's own.
        progress: Told of files.

    Returns:
        The directory's digest.

    Raises:
        ConfigurationError: The commit has no such file.
        IntegrityError: Something is in neither cache nor remote, or is damaged in both.
    """
    name = f"{commit}:{dvc_file}"
    tracked = parse_dvc_file(git.read_blobs(root, [name])[name], name)
    with open_dvc(root) as repo:
        spare = _spare_cache(scratch)
        tree = _listing(repo, spare, tracked.hash_info)
        files = {"/".join(key): info for key, _, info in tree}
        lacking = _copy_cached(repo.cache.local, files, target, progress)
        fetch_files(repo, tracked.hash_info, set(lacking.values()), spare)
        damaged = _copy_cached(spare, lacking, target, progress)
    if damaged:
        raise IntegrityError(
            got=f"the tracked directory {tracked.digest}, of which {len(damaged)} files are damaged in the remote, the first being "
            f"{min(damaged)}.",
            allowed="files whose md5 is the one in their name.",
            next_step="put the remote back from a backup.",
        )
    return tracked.digest


def _spare_cache(folder: Path) -> HashFileDB:
    from dvc_data.hashfile.db.local import LocalHashFileDB
    from dvc_objects.fs.local import LocalFileSystem

    folder.mkdir(parents=True, exist_ok=True)
    return LocalHashFileDB(LocalFileSystem(), str(folder))  # type: ignore[no-untyped-call]


def _listing(repo: Repo, spare: HashFileDB, directory: HashInfo) -> Tree:
    from dvc_data.hashfile.tree import Tree

    own = repo.cache.local
    if own.exists(str(directory.value)):
        return Tree.load(own, directory)
    fetch_files(repo, directory, {directory}, spare)
    return Tree.load(spare, directory)


def _copy_cached(cache: HashFileDB, files: Mapping[str, HashInfo], target: Path, progress: Progress) -> dict[str, HashInfo]:
    """Copies what the cache has whole; gives back the rest."""
    lacking = {}
    for done, (path, info) in enumerate(files.items(), start=1):
        source, copy = Path(cache.oid_to_path(str(info.value))), target / path
        copy.parent.mkdir(parents=True, exist_ok=True)
        if not source.is_file() or not _copied_whole(source, copy, str(info.value)):
            lacking[path] = info
        if done % _PROGRESS_STEP == 0 or done == len(files):
            progress("export", done, len(files))
    return lacking


def _copied_whole(source: Path, copy: Path, md5: str) -> bool:
    shutil.copyfile(source, copy)
    with copy.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest() == md5
