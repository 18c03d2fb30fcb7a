"""The bundle of a version, brought out of DVC's cache or remote as a verified directory."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.core.bundle import install_directory, read_manifest, verify_files
from pipelines.core.errors import ConfigurationError, IntegrityError
from pipelines.exclusive import exclusive
from pipelines.versioning import git
from pipelines.versioning.dataset import TrackedDirectory, parse_dvc_file
from pipelines.versioning.dvc_repository import discard_damaged, fetch_objects, open_dvc, wait_for_dvc
from pipelines.versioning.model_versions import BUNDLE_FILE, ModelVersion, find_version

if TYPE_CHECKING:
    from dvc.repo import Repo
    from dvc_data.hashfile.tree import Tree


def fetch_bundle(root: Path, project: str, version: str, target_dir: Path) -> Path:
    """The bundle of a version at `TARGET_DIR/BUNDLE_ID`, every file verified, there in one step.

    Reads no code of DVC if it is there already.

    Args:
        root: The workspace.
        project: Name of the model.
        version: `v0.0.1`.
        target_dir: Made if it is missing.

    Raises:
        ConfigurationError: There is no such version.
        IntegrityError: Its files are not to be had, or are not those that were sealed.
    """
    model = find_version(root, project, version)
    target = target_dir / model.bundle_id
    if not _is_intact(target, model):
        with exclusive(root / ".dvc" / "tmp" / f"regraft-bundle-{model.bundle_id}.lock"):
            if not _is_intact(target, model):  # another process may have brought it in the meantime
                shutil.rmtree(target, ignore_errors=True)
                materialise(root, model, target)
    return target


def _is_intact(target: Path, model: ModelVersion) -> bool:
    try:
        _verify(target, model)
    except IntegrityError:  # missing or damaged: this copy can be made again
        return False
    return True


def materialise(root: Path, model: ModelVersion, target: Path) -> None:
    """Writes the version's bundle to `target` and verifies it; damaged files of the cache are fetched again once.

    Raises:
        IntegrityError: As `fetch_bundle`.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    name = f"{model.commit}:{BUNDLE_FILE}"
    tracked = parse_dvc_file(git.read_blobs(root, [name])[name], name)
    # A folder inside of the private one: mkdtemp's own is closed to all other users, and would stay so.
    outer = Path(tempfile.mkdtemp(prefix=f".{model.bundle_id}-", dir=target.parent))
    staging = outer / model.bundle_id
    staging.mkdir()
    try:
        with open_dvc(root) as repo:
            wait_for_dvc(root, lambda: _copy_verified(repo, tracked, model, staging))
        install_directory(staging, target)
    except (IntegrityError, ConfigurationError) as error:
        raise IntegrityError(
            got=f"{model.project} {model.name} (bundle {model.bundle_id}, commit {model.commit[:12]}), which cannot be read: {error.got}",
            allowed="a version whose files are in DVC's cache or remote, as they were sealed.",
            next_step=f"{error.next_step} To put another version in production use `regraft rollback`.",
        ) from error
    finally:
        shutil.rmtree(outer, ignore_errors=True)


def _copy_verified(repo: Repo, tracked: TrackedDirectory, model: ModelVersion, staging: Path) -> None:
    with repo.lock:
        tree = fetch_objects(repo, tracked.hash_info)
        _copy(repo, tree, staging)
        try:
            _verify(staging, model)
        except IntegrityError:
            if not discard_damaged(repo, tree):
                raise
            _copy(repo, fetch_objects(repo, tracked.hash_info), staging)
            _verify(staging, model)


def _copy(repo: Repo, tree: Tree, target: Path) -> None:
    for key, _, hash_info in tree:
        place = target.joinpath(*key)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(repo.cache.local.oid_to_path(hash_info.value), place)


def _verify(bundle: Path, model: ModelVersion) -> None:
    manifest, identity = read_manifest(bundle)
    if identity != model.bundle_id:
        raise IntegrityError(
            got=f"{bundle}, which is bundle {identity}.",
            allowed=f"bundle {model.bundle_id}, which {model.project} {model.name} names.",
            next_step="delete the folder and run the command again.",
        )
    verify_files(bundle, manifest)
