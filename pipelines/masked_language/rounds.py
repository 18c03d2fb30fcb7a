"""Pieces of text as the training loop takes samples: a part of all of them in each round.

Letters for shapes: n pieces, b batch, l token ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.core.modalities.text import padded
from pipelines.dataset import Sample
from pipelines.masked_language.texts import Piece
from pipelines.training.batches import stateless_seed

# What the loop calls an epoch is judged, and kept where it is the best: a part of a pass, so that a deadline costs less than a pass.
ROUNDS_PER_EPOCH = 8
_LEAST_PER_ROUND = 32


def n_rounds_per_epoch(n_pieces: int) -> int:
    """Into how many rounds a pass over all pieces is cut; the last few pieces of a pass that does not divide evenly are left out of it."""
    return max(1, min(ROUNDS_PER_EPOCH, n_pieces // _LEAST_PER_ROUND))


@dataclass
class Rounds:
    """A `BatchSource` of the pieces of one round.

    Attributes:
        pieces: All n of them.
        n_rounds: Of a pass over all.
        seed: Of the order.
        targets: int64, which pieces are in the round of the last `renew`.
    """

    pieces: Sequence[Piece]
    n_rounds: int
    seed: int
    targets: NDArray[Any] = field(init=False)

    def __post_init__(self) -> None:
        self.renew(1)

    @property
    def samples(self) -> Sequence[Sample]:
        """The pieces of the round, by their names."""
        return [_as_sample(self.pieces[int(place)]) for place in self.targets]

    def __len__(self) -> int:
        return len(self.pieces) // self.n_rounds

    def batch(self, indices: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
        """int64 [b, l] of the pieces at these places of the round."""
        return padded([self.pieces[int(self.targets[index])].ids.astype(np.int64) for index in indices])

    def renew(self, number: int) -> None:
        """Turns to a round, counted from 1; each pass over all pieces has an order of its own."""
        epoch, part = divmod(number - 1, self.n_rounds)
        order = np.random.default_rng(stateless_seed("pieces", self.seed, epoch)).permutation(len(self.pieces))
        self.targets = order[part * len(self) : (part + 1) * len(self)]


def _as_sample(piece: Piece) -> Sample:
    return Sample(piece.name, f"the text {piece.name[:12]}", "", piece.name, "", "", "train")
