"""Pieces of text as the training loop takes samples.

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


@dataclass
class PieceInputs:
    """A `BatchSource` of pieces.

    Attributes:
        pieces: All n of them.
        samples: The pieces by their names.
        targets: int64 [n], their places.
    """

    pieces: Sequence[Piece]
    samples: Sequence[Sample] = field(init=False)
    targets: NDArray[Any] = field(init=False)

    def __post_init__(self) -> None:
        self.samples = [_as_sample(piece) for piece in self.pieces]
        self.targets = np.arange(len(self.pieces))

    def __len__(self) -> int:
        return len(self.pieces)

    def batch(self, indices: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
        """int64 [b, l]."""
        return padded([self.pieces[int(index)].ids.astype(np.int64) for index in indices])


def _as_sample(piece: Piece) -> Sample:
    return Sample(piece.name, f"the text {piece.name[:12]}", "", piece.name, "", "", "train")
