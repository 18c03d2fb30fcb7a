"""What every contender on texts is given; standard library only, for both environments."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.contest.job import Draw


@dataclass(frozen=True)
class TextJob(Draw):
    """One draw of one dataset. Samples are texts.

    Attributes:
        weights: Folder of the pretrained model.
        max_tokens: Longer texts are cut, for every contender.
    """

    weights: str
    max_tokens: int
