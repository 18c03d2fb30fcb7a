"""How two dataset versions differ: samples added, removed and relabelled, from DVC's listings and the two labels tables.

A sample is its content (DVC's md5 of the file), as everywhere in Regraft: a file that was only moved is the same sample. No sample file is
downloaded; a listing or a table that the cache lacks is.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from pydantic import JsonValue

from pipelines.core.errors import IntegrityError
from pipelines.versioning import git
from pipelines.versioning.dataset import DATA_FILE, TrackedDirectory, parse_dvc_file
from pipelines.versioning.dvc_repository import fetch_files, fetch_listing, open_dvc

if TYPE_CHECKING:
    from dvc.repo import Repo

# Between the labels of files with the same content that the table labels differently.
_AND = " and "


@dataclass(frozen=True)
class DatasetState:
    """A dataset version as one commit has it.

    Attributes:
        commit: With `data.dvc`.
        labels_table: Relative to `data/`, as the configuration of that time says.
    """

    commit: str
    labels_table: str


@dataclass(frozen=True)
class DatasetChanges:
    """From an old dataset version to a new one.

    Attributes:
        old, new: Their digests.
        n_old, n_new: Different samples that the labels tables name.
        added, removed: Number of samples by label.
        relabelled: Number of samples by `old label -> new label`.
    """

    old: str
    new: str
    n_old: int
    n_new: int
    added: Mapping[str, int]
    removed: Mapping[str, int]
    relabelled: Mapping[str, int]

    def as_json(self) -> dict[str, JsonValue]:
        """For machines."""
        counts: dict[str, JsonValue] = {name: dict(getattr(self, name)) for name in ("added", "removed", "relabelled")}
        return {"old": self.old, "new": self.new, "n_old": self.n_old, "n_new": self.n_new, **counts}


def dataset_changes(root: Path, old: DatasetState, new: DatasetState) -> DatasetChanges:
    """Compares the dataset versions of two commits.

    Raises:
        ConfigurationError: A commit has no dataset.
        IntegrityError: A listing or a labels table is neither in DVC's cache nor in its remote.
        DataError: A labels table cannot be read.
    """
    names = [f"{state.commit}:{DATA_FILE}" for state in (old, new)]
    blobs = git.read_blobs(root, names)
    tracked = [parse_dvc_file(blobs[name], name) for name in names]
    with open_dvc(root) as repo:
        labels = [_labels_by_content(repo, one, state.labels_table) for one, state in zip(tracked, (old, new), strict=True)]
    return compare_labels((tracked[0].digest, labels[0]), (tracked[1].digest, labels[1]))


def compare_labels(old: tuple[str, Mapping[str, str]], new: tuple[str, Mapping[str, str]]) -> DatasetChanges:
    """The changes between two versions.

    Args:
        old: Digest, and label by content.
        new: Likewise.
    """
    before, after = old[1], new[1]
    relabelled = [f"{before[key]} -> {after[key]}" for key in before.keys() & after.keys() if before[key] != after[key]]
    return DatasetChanges(
        old=old[0],
        new=new[0],
        n_old=len(before),
        n_new=len(after),
        added=_counts([after[key] for key in after.keys() - before.keys()]),
        removed=_counts([before[key] for key in before.keys() - after.keys()]),
        relabelled=_counts(relabelled),
    )


def _counts(values: list[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items()))


def _labels_by_content(repo: Repo, tracked: TrackedDirectory, labels_table: str) -> dict[str, str]:
    from pipelines.labels_table import held_by, read_labels_table

    tree = fetch_listing(repo, tracked.hash_info)
    contents = {"/".join(key): str(info.value) for key, _, info in tree}
    with tempfile.TemporaryDirectory(prefix="regraft-labels-") as folder:
        table = Path(folder) / PurePosixPath(labels_table).name  # its suffix says how it is read
        _copy_file(repo, tracked, contents, labels_table, table)
        rows = read_labels_table(table, holds=held_by(table)).rows
    labels: dict[str, set[str]] = {}
    for row in rows:
        # A row without a file is no sample yet, but a change of it is one of the dataset.
        labels.setdefault(contents.get(row.path, f"no file {row.path}"), set()).add(row.label)
    return {content: _AND.join(sorted(found)) for content, found in labels.items()}


def _copy_file(repo: Repo, tracked: TrackedDirectory, contents: Mapping[str, str], path: str, target: Path) -> None:
    from dvc_data.hashfile.hash_info import HashInfo

    if path not in contents:
        raise IntegrityError(
            got=f"the dataset {tracked.digest}, which has no {path}.",
            allowed="a dataset version with the labels table that its configuration names.",
            next_step="look at the commit's conf file: data.labels_table.",
        )
    fetch_files(repo, tracked.hash_info, {HashInfo("md5", contents[path])})
    shutil.copyfile(repo.cache.local.oid_to_path(contents[path]), target)
