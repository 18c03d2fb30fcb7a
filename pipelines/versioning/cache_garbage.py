"""Bundles in DVC's cache that no tag names: found from the cache's own listings, removed by DVC's own garbage collector.

`dvc gc` alone knows only "used by these commits": it keeps every bundle that was ever committed, or drops the data of every commit
that no tag names. Here data are never touched, and of bundles those stay that a tag, HEAD or the workspace names.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.core.bundle import MANIFEST, bundle_id
from pipelines.core.errors import ConfigurationError
from pipelines.versioning import git
from pipelines.versioning.dataset import parse_dvc_file
from pipelines.versioning.dvc_repository import open_dvc, wait_for_dvc
from pipelines.versioning.model_versions import BUNDLE_FILE, MANIFEST_COPY
from pipelines.versioning.registry_lock import registry_lock
from pipelines.versioning.tags import parse_tag_name

if TYPE_CHECKING:
    from dvc.repo import Repo
    from dvc_data.hashfile.db import HashFileDB

_DIRECTORY = ".dir"


@dataclass(frozen=True)
class NamedBundles:
    """Bundles that the registry still needs, of all projects of the workspace.

    Attributes:
        ids: Bundle ids.
        digests: DVC's digests of their directories.
    """

    ids: frozenset[str]
    digests: frozenset[str]


@dataclass(frozen=True)
class UnnamedBundle:
    """A bundle in the cache that nothing names.

    Attributes:
        digest: DVC's, of its directory.
        objects: What only such bundles use: the listing and files.
        n_bytes: Of these.
    """

    digest: str
    objects: frozenset[str]
    n_bytes: int


def named_bundles(root: Path) -> NamedBundles:
    """What tags, HEAD and the workspace name.

    Raises:
        ConfigurationError: The workspace is no git repository of its own.
    """
    git.require_top_level(root)
    tags = git.run_git(root, "tag", "--list").decode().split("\n")
    revisions = ["HEAD", *(f"refs/tags/{tag}" for tag in tags if tag and parse_tag_name(tag))]
    blobs = git.read_blobs(root, [f"{revision}:{path}" for revision in revisions for path in (BUNDLE_FILE, MANIFEST_COPY)])
    contents = [(blobs[f"{revision}:{BUNDLE_FILE}"], blobs[f"{revision}:{MANIFEST_COPY}"]) for revision in revisions]
    contents.append((_present(root / BUNDLE_FILE), _present(root / MANIFEST_COPY)))  # of a registration that is half done
    return NamedBundles(
        ids=frozenset(bundle_id(manifest) for _, manifest in contents if manifest is not None),
        digests=frozenset(parse_dvc_file(tracked, BUNDLE_FILE).digest for tracked, _ in contents if tracked is not None),
    )


def _present(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def unnamed_bundles(root: Path) -> list[UnnamedBundle]:
    """The bundles in the workspace's own cache that nothing names; none where the cache is shared with other workspaces.

    Raises:
        ConfigurationError: As `named_bundles`.
    """
    with open_dvc(root) as repo:
        return [] if _is_shared(repo, root) else _unnamed(repo, named_bundles(root).digests)


def remove_unnamed_bundles(root: Path, digests: frozenset[str]) -> int:
    """Removes those of `digests` that nothing names now, with the files that nothing else uses.

    Holds the registry's lock and DVC's: no registration is between adding its bundle and naming it. Files go before listings, so that a
    removal that was killed is completed by the next.

    Returns:
        Number of objects removed.

    Raises:
        ConfigurationError: A lock that stays.
    """
    with registry_lock(root), open_dvc(root) as repo:
        if _is_shared(repo, root):
            return 0
        return wait_for_dvc(root, lambda: _remove(repo, root, digests))


def _remove(repo: Repo, root: Path, digests: frozenset[str]) -> int:
    from dvc_data.hashfile.gc import gc
    from dvc_data.hashfile.hash_info import HashInfo

    with repo.lock:
        garbage = {oid for bundle in _unnamed(repo, named_bundles(root).digests) if bundle.digest in digests for oid in bundle.objects}
        cache: HashFileDB = repo.cache.local
        n_removed = 0
        for part in ({oid for oid in garbage if not oid.endswith(_DIRECTORY)}, garbage):
            used = {HashInfo("md5", oid) for oid in _oids(cache) if oid not in part}
            n_removed += int(gc(cache, used)) if part else 0
        return n_removed


def _is_shared(repo: Repo, root: Path) -> bool:
    """Whether the cache lies outside of the workspace: who else uses it cannot be known."""
    return not Path(repo.cache.local.path).resolve().is_relative_to(root.resolve())


def _unnamed(repo: Repo, named: frozenset[str]) -> list[UnnamedBundle]:
    cache: HashFileDB = repo.cache.local
    listings = dict(_listings(cache))
    unnamed = {digest: oids for digest, oids in listings.items() if MANIFEST in oids and digest not in named}
    needed = {oid for digest, oids in listings.items() if digest not in unnamed for oid in oids.values()} | _tracked_files(repo)
    found = []
    for digest, oids in sorted(unnamed.items()):
        objects = frozenset({digest, *(oid for oid in oids.values() if oid not in needed)})
        found.append(UnnamedBundle(digest, objects, sum(_n_bytes(cache, oid) for oid in objects)))
    return found


def _listings(cache: HashFileDB) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Of every directory in the cache: digest, and object by path."""
    for oid in _oids(cache):
        if not oid.endswith(_DIRECTORY):
            continue
        try:
            entries = json.loads(Path(cache.oid_to_path(oid)).read_bytes())
            yield oid, {entry["relpath"]: entry["md5"] for entry in entries}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigurationError(
                got=f"a listing in DVC's cache that cannot be read: {oid} ({error!r}).",
                allowed="a cache in which it is known what is used.",
                next_step=f"delete the file {cache.oid_to_path(oid)}; `dvc fetch` brings it back where it is needed.",
            ) from error


def _oids(cache: HashFileDB) -> list[str]:
    return list(cache.all())  # type: ignore[no-untyped-call]


def _tracked_files(repo: Repo) -> set[str]:
    """Single files that the workspace or a tag tracks by DVC: they may have the bytes of a bundle's file."""
    used = repo.used_objs(all_tags=True)
    return {str(info.value) for infos in used.values() for info in infos}


def _n_bytes(cache: HashFileDB, oid: str) -> int:
    path = Path(cache.oid_to_path(oid))
    return path.stat().st_size if path.is_file() else 0
