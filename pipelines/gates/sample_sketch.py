"""Which samples a test set holds, in a few hundred bytes: enough to estimate how much of one test set was in another.

A bottom-k sketch (Broder 1997, On the resemblance and containment of documents, https://doi.org/10.1109/SEQUEN.1997.666900): the k
smallest hashes. Below the largest hash that both sketches reach, each lists all samples of its set, so what they share there is a
random sample of what the sets share. The ids themselves are not kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

# The share of one set in another is then known to some 6 points (one standard deviation at a half).
SKETCH_SIZE = 64

Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]


class SampleSketch(BaseModel):
    """What is kept of a set of samples.

    Attributes:
        n: Samples in the set, at least 1.
        smallest: The 64 smallest hashes of their ids in ascending order; all of them where the set is smaller.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    n: Annotated[int, Field(ge=1)]
    smallest: Annotated[tuple[Hash, ...], Field(min_length=1, max_length=SKETCH_SIZE)]


def sketch_of(ids: Iterable[str]) -> SampleSketch:
    """The sketch of a set.

    Args:
        ids: Of its samples, each once, at least one. They are hashed again, so that any kind of id will do.
    """
    hashes = sorted(hashlib.sha256(name.encode()).hexdigest()[:16] for name in ids)
    return SampleSketch(n=len(hashes), smallest=tuple(hashes[:SKETCH_SIZE]))


def shared_frac(today: SampleSketch, earlier: SampleSketch) -> float:
    """The share of today's samples that were in the earlier set, in [0, 1].

    Exact where both sets have 64 samples at most; else an estimate, with a standard deviation of sqrt(share (1 - share) / m), where m
    is how many of today's hashes lie within reach of both sketches: 64 for sets of one size.
    1 where none does, which needs an earlier set that is very much larger: a test set that may have been seen counts as seen.
    """
    reach = min(_reach(today), _reach(earlier))
    comparable = [name for name in today.smallest if name <= reach]
    if not comparable:
        return 1.0
    return len(set(comparable) & set(earlier.smallest)) / len(comparable)


def _reach(sketch: SampleSketch) -> str:
    # Up to here a hash that is not listed is not in the set.
    return sketch.smallest[-1] if sketch.n > len(sketch.smallest) else "g"  # behind every hex digit
