"""Near-duplicates share a split, where samples enter the data: rows that are about to be added, and the first samples of a workspace."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from pipelines.config import SplitSection
from pipelines.core.errors import DataError
from pipelines.image_files import ImageFile, inspect_images
from pipelines.input_files import normal_path
from pipelines.kept_thumbnails import Thumbnail, kept_thumbnails
from pipelines.labels_table import LabelRow
from pipelines.near_duplicates import pairs_of_new, thumbnail
from pipelines.sample_source import SourceSample
from pipelines.shared_groups import NOBODY_SHARES, Member, Sharing, share_groups

_N_THREADS = 8


def rows_with_shared_groups(
    data_dir: Path, known: Sequence[LabelRow], rows: Sequence[Mapping[str, str]], keep: Path, staging: Path, section: SplitSection
) -> tuple[list[dict[str, str]], Sharing]:
    """New rows of the labels table, with the groups of what they look like.

    The new files are compared with all, the old ones not with each other. Without a new file that could share anything nothing is read.

    Args:
        data_dir: Where all files lie already.
        known: Rows of the labels table.
        rows: Cells by column, `path` among them.
        keep: See `kept_thumbnails`.
        staging: See `kept_thumbnails`.
        section: Of the conf file.
    """
    if all(row.get("group") or row.get("split") for row in rows):
        return [dict(row) for row in rows], NOBODY_SHARES
    old = list({normal_path(row.path): row for row in known}.values())
    new = [Member(row["path"], "", row.get("group", ""), row.get("split", ""), is_new=True) for row in rows]
    everyone = [*(Member(normal_path(row.path), "", row.group, row.split, is_new=False) for row in old), *new]
    found = kept_thumbnails(data_dir, [member.path for member in everyone], keep, staging)

    def pixel_digest(member: Member) -> str | None:
        (file,) = inspect_images(data_dir, [member.path])
        return file.pixel_digest if isinstance(file, ImageFile) else None

    sharing = _shared(everyone, found, pixel_digest, section)
    placed = {member.path: member for member in sharing.members if member.is_new}
    return [{**row, "group": placed[row["path"]].group, "split": placed[row["path"]].split} for row in rows], sharing


def samples_with_shared_groups(
    root: Path, samples: Sequence[SourceSample], images: Sequence[ImageFile], section: SplitSection
) -> tuple[list[SourceSample], Sharing]:
    """The first samples of a workspace, with the groups of what they look like.

    Args:
        root: That the samples' paths are relative to.
        samples: As their source states them.
        images: Their files, in the same order.
        section: Of the conf file.
    """
    if all(sample.group or sample.split for sample in samples):
        return list(samples), NOBODY_SHARES
    digests = {sample.path: image.pixel_digest for sample, image in zip(samples, images, strict=True)}
    with ThreadPoolExecutor(_N_THREADS) as pool:
        found = list(pool.map(lambda pair: _thumbnail(root / pair[0].path, pair[1]), zip(samples, images, strict=True)))
    members = [Member(sample.path, "", sample.group, sample.split, is_new=True) for sample in samples]
    sharing = _shared(members, found, lambda member: digests[member.path], section)
    return [replace(sample, group=one.group, split=one.split) for sample, one in zip(samples, sharing.members, strict=True)], sharing


def _thumbnail(file: Path, image: ImageFile) -> Thumbnail | None:
    try:
        return Thumbnail(image.id, thumbnail(file.read_bytes()))
    except (DataError, OSError):
        return None


def _shared(
    members: Sequence[Member],
    found: Sequence[Thumbnail | None],
    pixel_digest: Callable[[Member], str | None],
    section: SplitSection,
) -> Sharing:
    members = [replace(member, sha256=thumb.sha256 if thumb else "") for member, thumb in zip(members, found, strict=True)]
    # In the order of the digests, which has nothing to do with what the pictures show.
    compared = sorted((thumb.sha256, place) for place, thumb in enumerate(found) if thumb)
    places = np.array([place for _, place in compared], dtype=np.int64)
    pixels = [thumb.pixels for _, place in compared if (thumb := found[place]) is not None]
    if len(pixels) < 2:
        return Sharing(tuple(members), 0, 0)
    is_new = np.array([members[place].is_new for place in places.tolist()], dtype=np.bool_)
    return share_groups(members, places[pairs_of_new(np.stack(pixels), is_new)], pixel_digest, section)
