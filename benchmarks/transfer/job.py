"""What every contender on images is given; standard library only, for both environments."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.contest.job import Draw


@dataclass(frozen=True)
class Weights:
    """Pretrained weights and how images go in."""

    architecture: str
    model_args: dict[str, object]
    in_channels: int
    weights: str
    mean: list[float]
    std: list[float]
    side_px: int


@dataclass(frozen=True)
class Job(Weights, Draw):
    """One draw of one dataset. Samples are absolute paths.

    Attributes:
        flips: Whether a mirrored image keeps its label.
    """

    flips: bool
