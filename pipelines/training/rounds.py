"""A pass over many samples cut into rounds, each of which the training loop takes for an epoch: a deadline then costs less than a pass.

Letters for shapes: n samples, b batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.dataset import Sample
from pipelines.training.batches import stateless_seed
from pipelines.training.inputs import BatchSource

ROUNDS_PER_EPOCH = 8


def n_rounds_per_epoch(n_samples: int, least_per_round: int) -> int:
    """Into how many rounds a pass over all samples is cut; the last few of a pass that does not divide evenly are left out of it."""
    return max(1, min(ROUNDS_PER_EPOCH, n_samples // least_per_round))


@dataclass
class Rounds:
    """A `BatchSource` of the samples of one round.

    Attributes:
        source: All n of them; its targets are not looked at.
        n_rounds: Of a pass over all.
        seed: Of the order.
        number: Of the round, counted from 1.
        targets: int64, which of the samples are in that round.
    """

    source: BatchSource
    n_rounds: int
    seed: int
    number: int = field(init=False)
    targets: NDArray[Any] = field(init=False)

    def __post_init__(self) -> None:
        self.renew(1)

    @property
    def samples(self) -> Sequence[Sample]:
        """Those of the round."""
        every = self.source.samples
        return [every[int(place)] for place in self.targets]

    def __len__(self) -> int:
        return len(self.source) // self.n_rounds

    def batch(self, indices: Sequence[int] | NDArray[np.int64]) -> NDArray[Any]:
        """[b, ...] of the samples at these places of the round."""
        return self.source.batch(self.targets[np.asarray(indices, dtype=np.int64)])

    def renew(self, number: int) -> None:
        """Turns to a round; each pass over all samples has an order of its own."""
        epoch, part = divmod(number - 1, self.n_rounds)
        order = np.random.default_rng(stateless_seed("rounds", self.seed, epoch)).permutation(len(self.source))
        self.number, self.targets = number, order[part * len(self) : (part + 1) * len(self)]
