"""Registered model versions: a bundle with its records at one commit, named by a tag.

A workspace has one place for its model, `models/`; its history is git's.

    models/bundle/           the bundle itself, by DVC        models/bundle.dvc      its digest, in git
    models/bundle.json       the bundle's manifest, in git, so that lineage needs no download; its sha256 is the bundle's id
    models/lineage.json      what made it, likewise
    models/decision.json, evaluation.json, card.md, ...       the records of its registration, in git
    dvc.yaml                 `artifacts: {PROJECT: {path: models/bundle, type: model}}`, for `dvc artifacts get` and GTO
"""

from __future__ import annotations

import datetime
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from pipelines.core.bundle import MANIFEST, bundle_id, read_manifest, verify_files
from pipelines.core.errors import ConfigurationError, ConflictError, IntegrityError
from pipelines.versioning import git
from pipelines.versioning.dataset import DATA_FILE, committed_dataset, parse_dvc_file
from pipelines.versioning.dvc_repository import open_dvc, push_objects, require_remote, wait_for_dvc
from pipelines.versioning.gto_import import import_gto
from pipelines.versioning.registry_lock import registry_lock
from pipelines.versioning.tags import RegistryTag, gto_writing, read_tags

if TYPE_CHECKING:
    from dvc.repo import Repo

BUNDLE = "models/bundle"
BUNDLE_FILE = "models/bundle.dvc"
MANIFEST_COPY = "models/bundle.json"
LINEAGE_COPY = "models/lineage.json"
RECORD_NAMES = ("calibration.json", "card.md", "decision.json", "evaluation.json", "provenance.json", "training.json", "validation.json")
_ARTIFACTS_FILE = "dvc.yaml"


@dataclass(frozen=True)
class ModelVersion:
    """One registered version.

    Attributes:
        project: Name of the model.
        name: `v0.0.1`, `v0.0.2`, ...
        commit: The commit with its records.
        bundle_id: Of the bundle, 16 hex digits.
        dataset_digest: What `data.dvc` said at that commit.
        registered_at: UTC.
    """

    project: str
    name: str
    commit: str
    bundle_id: str
    dataset_digest: str
    registered_at: datetime.datetime


def versions(root: Path, project: str) -> list[ModelVersion]:
    """All registered versions, oldest first.

    Raises:
        IntegrityError: A version's records are not in git; names it.
    """
    return read_versions(root, read_tags(root, project))


def read_versions(root: Path, tags: Sequence[RegistryTag]) -> list[ModelVersion]:
    """The versions that tags register, with what git holds at their commits, in one call."""
    registered = [tag for tag in tags if tag.name.action == "register"]
    blobs = git.read_blobs(root, [f"{tag.commit}:{path}" for tag in registered for path in (MANIFEST_COPY, DATA_FILE)])
    return [_version(tag, blobs[f"{tag.commit}:{MANIFEST_COPY}"], blobs[f"{tag.commit}:{DATA_FILE}"]) for tag in registered]


def _version(tag: RegistryTag, manifest: bytes | None, data: bytes | None) -> ModelVersion:
    if manifest is None or data is None:
        raise IntegrityError(
            got=f"the version {tag.tag}, whose commit {tag.commit[:12]} has no {MANIFEST_COPY if manifest is None else DATA_FILE}.",
            allowed="versions that `regraft` registered.",
            next_step=f"fetch the commit with `git fetch`, or take the tag back with `git tag -d '{tag.tag}'` if it was made by mistake.",
        )
    return ModelVersion(
        project=tag.name.artifact,
        name=str(tag.name.version),
        commit=tag.commit,
        bundle_id=bundle_id(manifest),
        dataset_digest=parse_dvc_file(data, f"{tag.commit[:12]}:{DATA_FILE}").digest,
        registered_at=tag.made_at,
    )


def find_version(root: Path, project: str, name: str) -> ModelVersion:
    """One version by its name.

    Raises:
        ConfigurationError: There is none of that name; lists those that are.
        IntegrityError: Its records are not in git.
    """
    tags = read_tags(root, project)
    wanted = [tag for tag in tags if tag.name.action == "register" and tag.name.version == name]
    if not wanted:
        raise unknown_version(project, name, tags)
    return read_versions(root, wanted)[0]


def unknown_version(project: str, name: str, tags: Sequence[RegistryTag]) -> ConfigurationError:
    """The error for a version that is not there."""
    known = ", ".join(str(tag.name.version) for tag in tags if tag.name.action == "register")
    return ConfigurationError(
        got=f"the version {name!r} of {project}.",
        allowed=f"a registered version: {known}." if known else "a registered version; there is none yet.",
        next_step="list them with `regraft history`." if known else "make one with `regraft retrain`.",
    )


def register(root: Path, bundle: Path, records: Mapping[str, bytes], message: str, *, dataset: str | None = None) -> ModelVersion:
    """Makes a bundle a version: DVC's cache, the remote, a commit, and last the tag that names it.

    May be called again after a crash anywhere: a bundle that is registered on this dataset is returned as it is, a half-done
    registration is completed.

    Args:
        root: The workspace.
        bundle: A sealed bundle.
        records: Contents by file name (of `RECORD_NAMES`) that git keeps beside it; `decision.json` must be among them.
        message: Why it is registered.
        dataset: Digest of the dataset version that the bundle was made from; None does not compare.

    Raises:
        ConflictError: Another dataset version is in use by now.
        ConfigurationError: Wrong records, no committed dataset, no identity or remote, or a lock that stays.
        IntegrityError: The bundle's files are not those that were sealed.
    """
    git.require_top_level(root)
    git.identity(root)
    _check_records(records)
    manifest, identity = read_manifest(bundle)
    verify_files(bundle, manifest)
    with registry_lock(root):
        in_use = committed_dataset(root)
        _refuse_other_dataset(in_use.digest, dataset)
        tags = read_tags(root, manifest.project)
        for version in read_versions(root, tags):
            if (version.bundle_id, version.dataset_digest) == (identity, in_use.digest):
                return version
        with open_dvc(root) as repo:
            require_remote(repo)
            _place_bundle(bundle, root / BUNDLE)
            wait_for_dvc(root, lambda: repo.add(str(root / BUNDLE)))
            wait_for_dvc(root, lambda: _push_bundle(repo, root))
            _declare_artifact(repo, root, manifest.project)
        commit = _commit_records(root, records, message)
        return _tag_version(root, manifest.project, commit, message, tags)


def registered_bundle(root: Path) -> str | None:
    """Id of the bundle whose manifest HEAD holds, tagged or not; None where none was ever registered."""
    content = git.read_blobs(root, [f"HEAD:{MANIFEST_COPY}"])[f"HEAD:{MANIFEST_COPY}"]
    return bundle_id(content) if content is not None else None


def _refuse_other_dataset(in_use: str, made_from: str | None) -> None:
    if made_from is not None and made_from != in_use:
        raise ConflictError(
            got=f"a bundle made from the dataset {made_from}, while data.dvc names {in_use} by now.",
            allowed="a bundle of the dataset version in use: a tag names both.",
            next_step="run `regraft retrain` again.",
        )


def _check_records(records: Mapping[str, bytes]) -> None:
    wrong = sorted(records.keys() - set(RECORD_NAMES))
    try:
        json.loads(records.get("decision.json", b""))
    except ValueError:
        wrong.append("decision.json that is missing or no JSON")
    if wrong:
        raise ConfigurationError(
            got=f"records to register: {', '.join(wrong)}.",
            allowed=f"decision.json, which says why the bundle may ship, and any of {', '.join(RECORD_NAMES)}.",
            next_step="hand over the decision with the bundle, as `regraft retrain` does.",
        )


def _place_bundle(bundle: Path, target: Path) -> None:
    if bundle.resolve() == target.resolve():
        return
    staging = target.with_name(".bundle-incoming")
    for leftover in (staging, target):
        if leftover.exists():
            shutil.rmtree(leftover)
    shutil.copytree(bundle, staging, copy_function=shutil.copyfile)
    staging.rename(target)


def _push_bundle(repo: Repo, root: Path) -> None:
    with repo.lock:
        push_objects(repo, parse_dvc_file((root / BUNDLE_FILE).read_bytes(), BUNDLE_FILE).hash_info)


def _declare_artifact(repo: Repo, root: Path, project: str) -> None:
    from dvc.annotations import Artifact

    import_gto()  # before DVC does
    path = root / _ARTIFACTS_FILE
    content = yaml.safe_load(path.read_bytes()) if path.is_file() else None
    declared = ((content or {}).get("artifacts") or {}).get(project) or {}
    if declared.get("path") != BUNDLE:
        repo.artifacts.add(project, Artifact(path=BUNDLE, type="model", desc="A Regraft bundle."), dvcfile=str(path))


def _commit_records(root: Path, records: Mapping[str, bytes], message: str) -> str:
    files = {f"models/{name}": content for name, content in records.items()}
    files[MANIFEST_COPY] = (root / BUNDLE / MANIFEST).read_bytes()
    files[LINEAGE_COPY] = (root / BUNDLE / "lineage.json").read_bytes() if (root / BUNDLE / "lineage.json").is_file() else b"{}"
    for path, content in files.items():
        (root / path).write_bytes(content)
    others = [f"models/{name}" for name in RECORD_NAMES if name not in records]
    for path in others:  # an earlier version's records must not stand beside this bundle
        (root / path).unlink(missing_ok=True)
    return git.commit_paths(root, message, [*files, *others, BUNDLE_FILE, "models/.gitignore", _ARTIFACTS_FILE])


def _tag_version(root: Path, project: str, commit: str, message: str, tags: Sequence[RegistryTag]) -> ModelVersion:
    registrations = [tag.made_at for tag in tags if tag.name.action == "register"]
    with gto_writing(root, max(registrations, default=None)) as author:
        import_gto().register(str(root), project, commit, message=message, author=author.name, author_email=author.email)
    return next(version for version in reversed(versions(root, project)) if version.commit == commit)
