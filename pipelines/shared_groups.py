"""Near-duplicates share a split: a sample that enters the data takes the group of what looks like it.

Only a sample that is not in the data yet is given a group, and only where its own row states neither group nor split: what is in the data
keeps its row, its key and so its split. Who looks like whom is what `pipelines.near_duplicates` finds; a chain of such pairs is one set.

In a set of near-duplicates:

- samples that are in the data, or whose rows state a group or a split, are *settled*. The new ones take the group of the first of them;
  where it has none, the group that stands for its picture (`pipelines.split.picture_key`), and the split that its row states.
- if nobody is settled, the first new one (by the digest of its bytes) stays as it is, and the others take the group of its picture.
- if the settled ones are judged by and learnt from at once, a new one would tie the two together wherever it went: it is put into
  `holdout`, which no stage uses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipelines.config import SplitSection
from pipelines.dataset import Split
from pipelines.split import group_key, picture_key, split_of


@dataclass(frozen=True)
class Member:
    """A sample as its row in the labels table has it.

    Attributes:
        path: Relative to `data/`.
        sha256: Of the file's bytes.
        group, split: Empty where the row says nothing.
        is_new: Whether the row is not in the labels table yet.
    """

    path: str
    sha256: str
    group: str
    split: str
    is_new: bool

    @property
    def is_settled(self) -> bool:
        """Whether its place is given."""
        return not self.is_new or bool(self.group or self.split)


@dataclass(frozen=True)
class Sharing:
    """What becomes of new samples that look like others.

    Attributes:
        members: All of them, the given ones with their groups and splits.
        n_grouped: New samples that were given the group of a near-duplicate.
        n_held_out: New samples that look like test samples and like what is learnt from, and went to `holdout`.
    """

    members: tuple[Member, ...]
    n_grouped: int
    n_held_out: int


NOBODY_SHARES = Sharing((), 0, 0)


def share_groups(
    members: Sequence[Member], pairs: NDArray[np.int64], pixel_digest: Callable[[Member], str | None], section: SplitSection
) -> Sharing:
    """Gives new samples the groups of their near-duplicates.

    Args:
        members: In the labels table's order, new ones last.
        pairs: Places of two near-duplicates, [p, 2].
        pixel_digest: Of a member's picture; None where it cannot be read. Asked for few of them.
        section: Of the conf file.
    """
    placed = list(members)
    n_grouped = n_held_out = 0
    for alike in _sets(len(members), pairs):
        free = [place for place in alike if not members[place].is_settled]
        settled = [members[place] for place in alike if members[place].is_settled]
        if not free:
            continue
        if not settled:
            first, *free = sorted(free, key=lambda place: members[place].sha256)
            settled = [members[first]]
        new = _place_of(settled, pixel_digest, section)
        if new is None:
            continue
        n_held_out += len(free) if new == ("", "holdout") else 0
        n_grouped += len(free) if new != ("", "holdout") else 0
        for place in free:
            placed[place] = replace(members[place], group=new[0], split=new[1])
    return Sharing(tuple(placed), n_grouped, n_held_out)


def said_of_sharing(n_grouped: int, n_held_out: int) -> list[str]:
    """What was done, as sentences; none where nothing was."""
    said = []
    if n_grouped:
        looks = "sample looks like another one and shares its" if n_grouped == 1 else "samples look like others and share their"
        said.append(f"{n_grouped} {looks} split (column group of the labels table)")
    if n_held_out:
        looks = "sample looks" if n_held_out == 1 else "samples look"
        said.append(f"{n_held_out} {looks} like test samples and like what is learnt from: holdout, which no stage uses (column split)")
    return said


def _place_of(settled: Sequence[Member], pixel_digest: Callable[[Member], str | None], section: SplitSection) -> tuple[str, str] | None:
    """Group and split for a new near-duplicate; None where no picture of them can be read any more."""
    groups = [member.group or _group_of_picture(member, pixel_digest) for member in settled]
    known = [(group, member.split) for group, member in zip(groups, settled, strict=True) if group]
    uses = {_use(split or split_of(group_key(group), section)) for group, split in known}
    if len(uses) > 1:
        return "", "holdout"
    return known[0] if known else None


def _group_of_picture(member: Member, pixel_digest: Callable[[Member], str | None]) -> str:
    digest = pixel_digest(member)
    return picture_key(digest) if digest else ""


def _use(split: Split | str) -> str:
    return "learnt from" if split in ("train", "validation") else split


def _sets(n_members: int, pairs: NDArray[np.int64]) -> list[list[int]]:
    """The places of each set of two and more that pairs connect, in their order."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not len(pairs):
        return []
    graph = coo_array((np.ones(len(pairs), dtype=np.bool_), (pairs[:, 0], pairs[:, 1])), shape=(n_members, n_members))
    _, names = connected_components(graph, directed=False)
    connected = np.unique(pairs)
    order = connected[np.argsort(names[connected], kind="stable")]
    return [part.tolist() for part in np.split(order, np.flatnonzero(np.diff(names[order])) + 1)]
