"""Batches of unlabelled samples beside the labelled ones: functions of (seed, place of the step), as all batches are.

Letters for shapes: b rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from pipelines.config import AugmentSection
from pipelines.core.modalities.adapters import Preprocess
from pipelines.training.batches import augmented_batch, epoch_batches, stateless_seed
from pipelines.training.inputs import BatchSource

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class TargetBatches:
    """An endless row of batches, pass after pass over the unlabelled samples, each pass in an order of its own.

    Attributes:
        source: The unlabelled samples.
        batch_size: Of each step; a pass's last batch may be smaller, or larger by one.
        augment, flips, preprocess: What is done to the samples, as to labelled ones.
        seed: Of orders and augmentation.
    """

    source: BatchSource
    batch_size: int
    augment: AugmentSection
    flips: tuple[Literal["horizontal", "vertical"], ...]
    preprocess: Preprocess
    seed: int

    def places(self, n_steps_before: int) -> NDArray[np.int64]:
        """Places in `source` of the batch beside the training's step number `n_steps_before`, counted from 0 over all epochs."""
        n_in_pass = len(self._pass(0))
        return self._pass(n_steps_before // n_in_pass)[n_steps_before % n_in_pass]

    def batch(self, n_steps_before: int, part: int, n_parts: int, device: torch.device) -> torch.Tensor:
        """[b, ...], as `BatchSource.batch` gives it: part number `part` of that batch, at least one sample."""
        import torch

        every = self.places(n_steps_before)
        # Fewer samples than parts: the later parts see some of them again.
        chosen = np.array_split(every, n_parts)[part] if len(every) >= n_parts else every[[part % len(every)]]
        inputs = torch.from_numpy(self.source.batch(chosen)).to(device)
        n_pass = n_steps_before // len(self._pass(0))
        seeds = [stateless_seed("augment target", self.seed, n_pass, self.source.samples[int(index)].id) for index in chosen]
        return augmented_batch(inputs, self.augment, self.flips, self.preprocess, seeds)

    def _pass(self, number: int) -> list[NDArray[np.int64]]:
        return _batches_of_pass(stateless_seed("target", self.seed), number, len(self.source), self.batch_size)


@lru_cache(maxsize=4)
def _batches_of_pass(seed: int, number: int, n_samples: int, batch_size: int) -> list[NDArray[np.int64]]:
    return epoch_batches(seed, number, n_samples, batch_size)
