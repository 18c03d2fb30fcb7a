"""Which flips leave labels true, found out on validation images."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipelines.dataset import Sample
from pipelines.intervals import mcnemar_p_value, one_sided_bounds
from pipelines.paired_exact import difference_p_value, smallest_n_for_a_tie
from pipelines.training.embedding import embed
from pipelines.training.inputs import BatchSource
from pipelines.training.validation import measure

if TYPE_CHECKING:
    from torch import nn

Flip = Literal["horizontal", "vertical"]
FLIP_AXES: dict[Flip, int] = {"horizontal": 3, "vertical": 2}

# A flip may cost 5 points of accuracy, and that it does not cost more must be shown at 95 % confidence.
MARGIN = 0.05
LEVEL = 0.95

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class FlipEvidence:
    """What flipping does to the network's answers.

    Attributes:
        n: Validation samples.
        n_wins: Right only when flipped.
        n_losses: Right only as they are.
        p_value: Of H0: flipping costs MARGIN of accuracy or more.
        tolerated: The verdict.
        reason: For people.
    """

    n: int
    n_wins: int
    n_losses: int
    p_value: float
    tolerated: bool
    reason: str


def tolerated_flips(
    setting: Literal["auto", "none", "horizontal", "vertical", "both"],
    network: nn.Sequential,
    validation: BatchSource,
    labels_per_sample: Literal["one", "many"],
) -> tuple[Flip, ...]:
    """The directions in which training images may be flipped.

    `auto` asks a network that was trained without flips (the probe): see `judge_flip`. Too few samples mean no flips.

    Args:
        setting: Of the configuration; all but `auto` are taken at their word.
        network: Backbone and head, [b, c, h, w] -> logits [b, k].
        validation: n samples that the network was not trained on.
        labels_per_sample: `many`: right is the exact set of labels.
    """
    if setting == "none":
        return ()
    if setting == "both":
        return ("horizontal", "vertical")
    if setting != "auto":
        return (setting,)
    if len(validation) < smallest_n_for_a_tie(MARGIN, LEVEL):
        _LOGGER.info("flips: none, %d validation samples cannot show that one does no harm", len(validation))
        return ()
    as_is = _correct(network, validation, labels_per_sample)
    flipped = {flip: _correct(network, _Flipped(validation, (axis,)), labels_per_sample) for flip, axis in FLIP_AXES.items()}
    evidence: dict[Flip, FlipEvidence] = {flip: judge_flip(as_is, flipped[flip], validation.targets) for flip in FLIP_AXES}
    for flip, found in evidence.items():
        _LOGGER.info("%s flips: %s", flip, found.reason)
    return tuple(flip for flip, found in evidence.items() if found.tolerated)


def judge_flip(as_is: NDArray[np.bool_], flipped: NDArray[np.bool_], targets: NDArray[Any]) -> FlipEvidence:
    """Whether a flip is shown to do no harm; whatever is not shown is no.

    A flip is tolerated where all three hold:
    the network knows the task, or it would not notice (accuracy beyond the share of the most common label by 2 * MARGIN at LEVEL);
    flipping costs less than MARGIN of accuracy at LEVEL (exact unconditional test of the paired difference);
    no class gets worse by an exact McNemar test at (1 - LEVEL) / k: a few letters that turn into each other are few samples.

    Args:
        as_is: bool [n], right answers to the images as they are.
        flipped: bool [n], to their mirror images.
        targets: [n], or [n, k] of 0 and 1.
    """
    n, wins, losses = len(as_is), int((flipped & ~as_is).sum()), int((as_is & ~flipped).sum())
    p_value = difference_p_value(wins, losses, n, -MARGIN)
    surely_right = one_sided_bounds(int(as_is.sum()), n, LEVEL).low
    chance = _most_common_share(targets)
    harmed = _harmed_classes(as_is, flipped, targets)
    counts = f"of {n} validation samples {losses} became wrong and {wins} right"
    if surely_right < chance + 2 * MARGIN:
        return FlipEvidence(n, wins, losses, p_value, False, f"refused, the probe knows too little to notice harm; {counts}")
    if p_value > 1 - LEVEL:
        return FlipEvidence(n, wins, losses, p_value, False, f"refused, a loss of {100 * MARGIN:g} points is not ruled out; {counts}")
    if harmed:
        return FlipEvidence(n, wins, losses, p_value, False, f"refused, class numbers {harmed} get worse; {counts}")
    return FlipEvidence(n, wins, losses, p_value, True, f"tolerated; {counts}")


def _most_common_share(targets: NDArray[Any]) -> float:
    return float(np.unique(targets, axis=0, return_counts=True)[1].max() / len(targets))


def _harmed_classes(as_is: NDArray[np.bool_], flipped: NDArray[np.bool_], targets: NDArray[Any]) -> list[int]:
    members = targets > 0 if targets.ndim == 2 else targets[:, None] == np.arange(int(targets.max()) + 1)
    became_wrong, became_right = (as_is & ~flipped) @ members.astype(np.int64), (flipped & ~as_is) @ members.astype(np.int64)
    error = (1 - LEVEL) / members.shape[1]
    # A loss seen from the other side is a win, so the same one-sided test serves.
    return [
        label
        for label, (losses, wins) in enumerate(zip(became_wrong, became_right, strict=True))
        if mcnemar_p_value(int(losses), int(wins)) <= error
    ]


@dataclass(frozen=True)
class _Flipped:
    """A source's images, flipped along these axes of [b, c, h, w]."""

    source: BatchSource
    axes: tuple[int, ...]

    @property
    def samples(self) -> Sequence[Sample]:
        return self.source.samples

    @property
    def targets(self) -> NDArray[Any]:
        return self.source.targets

    def __len__(self) -> int:
        return len(self.source)

    def batch(self, indices: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float32]:
        return np.flip(self.source.batch(indices), self.axes).copy()  # torch takes no negative strides


def _correct(network: nn.Sequential, images: BatchSource, labels_per_sample: Literal["one", "many"]) -> NDArray[np.bool_]:
    was_training = network.training
    logits = embed(network, images, activity="flips")
    network.train(was_training)
    return measure(logits, images.targets, labels_per_sample).correct
