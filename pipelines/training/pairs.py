"""Pairs of labelled samples, with the same label or with different ones, and how the training loop takes them.

Letters for shapes: n samples, p pairs, b batch, l token ids.
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


def draw_partners(identities: Sequence[str], targets: NDArray[np.int64], n_each: int, seed: int) -> NDArray[np.int64]:
    """Draws `n_each` partners of the same label for every sample, and as many of other labels.

    Nobody is drawn twice for a sample before everybody else was once. What is drawn for a sample depends on the seed, the sample's identity
    and the order of the others, on nothing drawn before.

    Args:
        identities: Of the n samples.
        targets: [n], their labels' indices; two labels at least, every one of them at least twice.
        n_each: At least 1.
        seed: Of the draw.

    Returns:
        int64 [n, 2 * n_each]: places of partners, those of the same label first; never the sample itself.
    """
    partners = np.empty((len(targets), 2 * n_each), dtype=np.int64)
    for place, identity in enumerate(identities):
        rng = np.random.default_rng(stateless_seed("pairs", seed, identity))
        same = targets == targets[place]
        different = np.flatnonzero(~same)
        same[place] = False
        partners[place, :n_each] = _drawn(rng, np.flatnonzero(same), n_each)
        partners[place, n_each:] = _drawn(rng, different, n_each)
    return partners


def _drawn(rng: np.random.Generator, candidates: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    n_rounds = -(-n // len(candidates))
    return np.concatenate([rng.permutation(candidates) for _ in range(n_rounds)])[:n]


@dataclass
class PairSource:
    """Pairs as a `BatchSource`: a batch is the first samples of its pairs; who is second, and whether the labels agree, is their target.

    Attributes:
        source: The samples, one label each.
        n_each: Pairs with the same label that each sample begins, and as many with another label.
        seed: Of the project.
        targets: int64 [p, 2]: place of the second sample; 1 for the same label, 0 for different ones. Of the epoch of the last `renew`.
    """

    source: BatchSource
    n_each: int
    seed: int
    targets: NDArray[Any] = field(init=False)

    def __post_init__(self) -> None:
        self.renew(0)

    @property
    def samples(self) -> Sequence[Sample]:
        """The first of each pair, p in all."""
        return [sample for sample in self.source.samples for _ in range(2 * self.n_each)]

    def __len__(self) -> int:
        return 2 * self.n_each * len(self.source)

    def batch(self, indices: Sequence[int] | NDArray[np.int64]) -> NDArray[Any]:
        """int64 [b, l], the first samples of the pairs at these places."""
        return self.source.batch(np.asarray(indices) // (2 * self.n_each))

    def renew(self, epoch: int) -> None:
        """Draws the pairs of an epoch, the same each time."""
        identities = [sample.id for sample in self.source.samples]
        partners = draw_partners(identities, self.source.targets, self.n_each, stateless_seed("epoch", self.seed, epoch))
        is_same = np.tile(np.repeat([1, 0], self.n_each), len(identities))
        self.targets = np.stack([partners.ravel(), is_same], axis=1)
