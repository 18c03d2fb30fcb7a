"""Rows that a network computes for samples, computed where a store lacks them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipelines.progress import Progress
from pipelines.training.embedding import embedded
from pipelines.training.feature_store import RowStore
from pipelines.training.inputs import BatchSource

if TYPE_CHECKING:
    from torch import nn

_log = logging.getLogger(__name__)

# Computed rows are put on the disk after as many batches, or as many bytes: what a kill can cost.
_BATCHES_PER_WRITE = 8
_BYTES_PER_WRITE = 64_000_000


class KeptRows:
    """What a network says of samples, from the store; where that cannot be written to, from memory.

    Attributes:
        unkept: Rows that the store could not take, by sample.
        is_writable: Whether everything that was computed so far went to the disk.
    """

    def __init__(self, store: RowStore) -> None:
        self.store = store
        self.unkept: dict[str, NDArray[np.float32]] = {}
        self.is_writable = True

    def missing(self, inputs: BatchSource) -> NDArray[np.int64]:
        """Where the samples lie that have to be computed; of several with the same id the first."""
        first: dict[str, int] = {}
        for place, sample in enumerate(inputs.samples):
            first.setdefault(sample.id, place)
        wanted = self.store.missing(identity for identity in first if identity not in self.unkept)
        return np.array([first[identity] for identity in wanted], dtype=np.int64)

    def fill(
        self, network: nn.Module, inputs: BatchSource, progress: Progress, activity: str, n_workers: int | None, *, spill: bool = True
    ) -> None:
        """Computes what is missing. What was done stays, however this ends; another process that wants the same waits and reads it.

        Args:
            network: Gives the rows.
            inputs: Samples, not augmented.
            progress: Told after every batch.
            activity: What to call it there.
            n_workers: Threads that decode; nothing: one for each core.
            spill: What cannot be written goes into memory. Otherwise the first write that fails is the end, and rows stay missing.
        """
        with self._writing():
            places, pending, done = self.missing(inputs), _Pending(), 0
            if not (spill or self.is_writable):
                return
            try:
                with closing(embedded(network, inputs, places, n_workers=n_workers)) as computed:
                    for chosen, rows in computed:
                        pending.add([inputs.samples[int(place)].id for place in chosen], rows)
                        done += len(chosen)
                        if pending.is_full and not self._keep(pending, spill):
                            return
                        progress(activity, done, len(places))
            finally:
                self._keep(pending, spill)

    def rows(self, inputs: BatchSource, places: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float32]:
        """float32 [b, ...] of the samples at these places, none of them missing."""
        return np.stack([self._row(inputs.samples[int(place)].id) for place in places])

    def _row(self, identity: str) -> NDArray[np.float32]:
        row = self.store.read(identity)
        return self.unkept[identity] if row is None else row

    def _keep(self, pending: _Pending, spill: bool) -> bool:
        """Whether it is kept, on the disk or in memory."""
        identities, rows = pending.taken()
        if self.is_writable and identities:
            try:
                self.store.append(identities, np.concatenate(rows))
            except OSError as error:
                self._give_up(error)
        if not self.is_writable and spill and identities:
            self.unkept.update(zip(identities, np.concatenate(rows), strict=True))
        return spill or self.is_writable

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with ExitStack() as held:
            try:
                if self.is_writable:
                    held.enter_context(self.store.writing())
            except (OSError, NotImplementedError) as error:  # the latter: a file system without locks
                self._give_up(error)
            yield

    def _give_up(self, error: OSError | NotImplementedError) -> None:
        reason = (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
        _log.warning("what is computed of samples cannot be kept (%s): every run computes it again", reason)
        self.is_writable = False


class _Pending:
    """Computed, not yet on the disk."""

    def __init__(self) -> None:
        self._identities: list[str] = []
        self._rows: list[NDArray[np.float32]] = []

    def add(self, identities: Sequence[str], rows: NDArray[np.float32]) -> None:
        self._identities.extend(identities)
        self._rows.append(rows)

    @property
    def is_full(self) -> bool:
        return len(self._rows) >= _BATCHES_PER_WRITE or sum(rows.nbytes for rows in self._rows) >= _BYTES_PER_WRITE

    def taken(self) -> tuple[list[str], list[NDArray[np.float32]]]:
        """All of it, which leaves nothing."""
        taken = self._identities, self._rows
        self._identities, self._rows = [], []
        return taken
