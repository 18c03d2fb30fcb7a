"""Which samples a step is made of, and what is done to them: functions of (seed, epoch, step, sample) and of nothing before.

So a training that goes on in the middle of an epoch sees what it would have seen, and so do several processes that share a batch.
Letters for shapes: n samples, b batch, m rows of this process, c channels, h height, w width, k labels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from pipelines.config.methods import AugmentSection
from pipelines.core.modalities.adapters import Preprocess
from pipelines.core.modalities.audio import AudioPreprocess
from pipelines.core.modalities.text import TextPreprocess
from pipelines.modalities.spec_augment import change_spectrograms
from pipelines.modalities.token_dropout import drop_tokens
from pipelines.training.augment import augment_batch
from pipelines.training.inputs import BatchSource
from pipelines.training.loading import loaded_batches
from pipelines.training.mixing import mix_batch
from pipelines.training.objective import Objective
from pipelines.training.runtime import Runtime

if TYPE_CHECKING:
    import torch


def stateless_seed(*keys: int | str) -> int:
    """A seed in [0, 2**63) that depends on the keys and nothing else, the same on every machine."""
    digest = hashlib.blake2b("/".join(map(str, keys)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def epoch_batches(seed: int, epoch: int, n_samples: int, batch_size: int) -> list[NDArray[np.int64]]:
    """All samples once, in an order of this epoch's own, `batch_size` at a time.

    A last batch of one sample joins the batch before it: batch norm has no statistics of one sample, and its gradient is the noisiest.

    Returns:
        Places in [0, n_samples); the last batch may be smaller, or larger by one.
    """
    order = np.random.default_rng(stateless_seed("order", seed, epoch)).permutation(n_samples)
    starts = list(range(batch_size, n_samples, batch_size))
    if starts and n_samples - starts[-1] == 1:
        starts.pop()
    return np.split(order, starts)


def augmented_batch(
    batch: torch.Tensor,
    augment: AugmentSection,
    flips: tuple[Literal["horizontal", "vertical"], ...],
    preprocess: Preprocess,
    seeds: Sequence[int],
) -> torch.Tensor:
    """The batch with its samples changed at random, as their kind allows.

    Args:
        batch: Images float32 [b, c, h, w], texts int64 [b, l], or sounds float32 [b, p, 1, t, m].
        augment: Policy, gain and magnitude.
        flips: Directions that leave the label of an image true.
        preprocess: Says of which kind they are.
        seeds: One for each sample: its change depends on nothing else.
    """
    if isinstance(preprocess, TextPreprocess):
        return drop_tokens(batch, augment, seeds)
    if isinstance(preprocess, AudioPreprocess):
        return change_spectrograms(batch, augment, preprocess, seeds)
    return augment_batch(batch, augment, flips, preprocess, seeds)


@dataclass(frozen=True)
class StepBatch:
    """What one process has of one step.

    Attributes:
        chosen: Places of the samples of the whole batch, over all processes [b].
        inputs: float32 [m, ...], or of texts int64 [m, l]; where this process has no part in the batch, some sample that must not count.
        targets: Of the objective: int64 [m], or float [m, k]; empty where this process has no part.
    """

    chosen: NDArray[np.int64]
    inputs: torch.Tensor
    targets: torch.Tensor


@dataclass(frozen=True)
class Batches:
    """Makes the batches of every epoch.

    Attributes:
        source: Training samples, or activations of them.
        flips: Directions that leave the label true.
        preprocess: Nothing where the source holds activations, which are not augmented.
        objective: Says how labels are mixed.
    """

    source: BatchSource
    batch_size: int
    augment: AugmentSection
    flips: tuple[Literal["horizontal", "vertical"], ...]
    preprocess: Preprocess | None
    objective: Objective
    runtime: Runtime
    seed: int
    n_workers: int | None

    @cached_property
    def n_steps(self) -> int:
        """Of one epoch."""
        return len(epoch_batches(self.seed, 0, len(self.source), self.batch_size))

    @property
    def _mixes(self) -> bool:
        return self.preprocess is not None and (self.augment.mixup_alpha > 0 or self.augment.cutmix_alpha > 0)

    def of_epoch(self, epoch: int, first_step: int) -> Generator[StepBatch, None, None]:
        """The batches of an epoch from step `first_step` on, counted from 0; close it where you do not exhaust it.

        Raises:
            DataError: A file does not decode.
        """
        every = epoch_batches(self.seed, epoch, len(self.source), self.batch_size)[first_step:]
        wanted = [self._needed(chosen) for chosen in every]
        loaded = loaded_batches(self.source, wanted, n_workers=self.n_workers, device=str(self.runtime.device))
        with closing(loaded):
            for step, (chosen, needed, batch) in enumerate(zip(every, wanted, loaded, strict=True), start=first_step):
                yield self._step_batch(chosen, needed, batch, epoch, step)

    def _needed(self, chosen: NDArray[np.int64]) -> NDArray[np.int64]:
        # A sample is mixed with any other of its batch, whichever process that belongs to.
        if self._mixes:
            return chosen
        own = self.runtime.shard(chosen)
        return own if len(own) else chosen[:1]

    def _step_batch(self, chosen: NDArray[np.int64], needed: NDArray[np.int64], batch: torch.Tensor, epoch: int, step: int) -> StepBatch:
        import torch

        batch = batch.to(self.runtime.device, non_blocking=True)
        targets = torch.from_numpy(self.source.targets[needed]).to(self.runtime.device)
        if self.preprocess is not None:
            seeds = [stateless_seed("augment", self.seed, epoch, self.source.samples[int(index)].id) for index in needed]
            batch = augmented_batch(batch, self.augment, self.flips, self.preprocess, seeds)
        if not self._mixes:
            return StepBatch(chosen, batch, targets[: len(self.runtime.shard(chosen))])
        mixed, soft = mix_batch(batch, self.objective.soft_targets(targets), self.augment, stateless_seed("mix", self.seed, epoch, step))
        own = torch.from_numpy(self.runtime.shard(np.arange(len(chosen)))).to(self.runtime.device)
        return StepBatch(chosen, mixed[own] if len(own) else mixed[:1], soft[own])
