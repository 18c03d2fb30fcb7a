"""Batches that are ready when the network is: read and decoded by threads, a few batches ahead.

Threads, not processes: PIL, NumPy and hashlib give up the interpreter's lock while they work, and nothing has to be copied between
processes or started anew each epoch.
"""

from __future__ import annotations

import math
import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipelines.core.modalities.text import PADDING_ID
from pipelines.training.inputs import BatchSource

if TYPE_CHECKING:
    import torch

# What one thread decodes at a time: large batches are shared out, so that the first is there soon and few of them lie in memory.
_SAMPLES_PER_TASK = 32
# float32 [b, p, 1, t, m].
_SOUND_NDIM = 5
# Of whole batches, besides what the threads are working on.
_BATCHES_AHEAD = 2
_CGROUP = Path("/sys/fs/cgroup")


def loaded_batches(
    source: BatchSource, batches: Iterable[NDArray[np.int64]], *, n_workers: int | None, device: str
) -> Generator[torch.Tensor, None, None]:
    """The batches of `source` at these places, in their order, decoded while the one before is computed.

    Close it where you do not exhaust it (`contextlib.closing`): when that returns its threads have ended and what they had made is dropped.

    Args:
        source: Where samples come from; called from several threads.
        batches: Places of each batch, at least one; taken one by one as they are needed.
        n_workers: Threads; nothing: one for each core that this process may use.
        device: Where the batches will be used, for example `cpu` or `cuda:0`.

    Yields:
        float32 [b, ...] on the CPU, images [b, c, h, w] in channels_last, texts int64 [b, l], sounds [b, p, 1, t, m]; in pinned memory
        where they go to CUDA.

    Raises:
        DataError, IntegrityError: What `source.batch` raised, in the place of the batch that it belongs to.
    """
    n_threads = n_workers or usable_cores()
    waiting: deque[_Batch] = deque()
    remaining = iter(batches)
    pool = ThreadPoolExecutor(n_threads, thread_name_prefix="regraft-loading")
    try:
        while True:
            while _wants_more(waiting, n_threads) and (indices := next(remaining, None)) is not None:
                waiting.append(_Batch(source, indices, device, pool))
            if not waiting:
                return
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def usable_cores() -> int:
    """Cores that this process may use: its affinity, and the share that its control group has of them; at least 1."""
    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(n_cores, _quota_cores(_CGROUP))))


def _quota_cores(cgroup: Path) -> float:
    """What a container is allowed, which neither the affinity nor `os.cpu_count` shows; infinite without a limit."""
    try:
        if (cgroup / "cpu.max").is_file():
            quota, period = (cgroup / "cpu.max").read_text().split()
        else:
            quota, period = ((cgroup / "cpu" / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
        return math.inf if quota in ("max", "-1") else int(quota) / int(period)
    except (OSError, ValueError):
        return math.inf


def _wants_more(waiting: deque[_Batch], n_threads: int) -> bool:
    return len(waiting) <= _BATCHES_AHEAD or sum(batch.n_tasks for batch in waiting) <= n_threads


class _Batch:
    """One batch in the making: several threads write into one tensor."""

    def __init__(self, source: BatchSource, indices: NDArray[np.int64], device: str, pool: ThreadPoolExecutor) -> None:
        self._n_samples = len(indices)
        self._pinned = device.startswith("cuda")
        self._lock = threading.Lock()
        self._tensor: torch.Tensor | None = None
        self._parts: dict[int, NDArray[Any]] = {}
        starts = range(0, len(indices), _SAMPLES_PER_TASK)
        self._tasks: list[Future[None]] = [
            pool.submit(self._fill, source.batch, indices[start : start + _SAMPLES_PER_TASK], start) for start in starts
        ]
        self.n_tasks = len(self._tasks)

    def result(self) -> torch.Tensor:
        """Waits for it."""
        for task in self._tasks:
            task.result()
        if self._parts:
            return self._padded()
        if self._tensor is None:
            raise ValueError("a batch without samples")
        return self._tensor

    def _padded(self) -> torch.Tensor:
        """Texts and sounds: each part is padded to its own longest one, and how long the batch is, is known when all are there."""
        import torch

        parts = [self._parts[start] for start in sorted(self._parts)]
        shape = (self._n_samples, max(part.shape[1] for part in parts), *parts[0].shape[2:])
        is_text = np.issubdtype(parts[0].dtype, np.integer)
        tensor = torch.full(
            shape,
            PADDING_ID if is_text else torch.nan,
            dtype=torch.int64 if is_text else torch.float32,
            pin_memory=self._pinned,
        )
        rows = tensor.numpy()
        for start, part in zip(sorted(self._parts), parts, strict=True):
            rows[start : start + len(part), : part.shape[1]] = part
        return tensor

    def _fill(self, load: Callable[[NDArray[np.int64]], NDArray[Any]], indices: NDArray[np.int64], start: int) -> None:
        array = load(indices)
        if np.issubdtype(array.dtype, np.integer) or array.ndim == _SOUND_NDIM:
            self._parts[start] = array
        elif len(array) == self._n_samples and not self._pinned:
            self._tensor = _channels_last(array)  # nothing to be put together
        else:
            self._place(array, start)

    def _place(self, array: NDArray[np.float32], start: int) -> None:
        import torch

        with self._lock:
            if self._tensor is None:
                memory_format = torch.channels_last if array.ndim == 4 else torch.contiguous_format
                shape = (self._n_samples, *array.shape[1:])
                self._tensor = torch.empty(shape, dtype=torch.float32, pin_memory=self._pinned, memory_format=memory_format)
        self._tensor.numpy()[start : start + len(array)] = array


def _channels_last(array: NDArray[np.float32]) -> torch.Tensor:
    import torch

    # A copy in torch's own memory: the last bits of a product may depend on where its input begins, and NumPy's arrays begin anywhere.
    tensor = torch.from_numpy(array).clone(memory_format=torch.preserve_format)
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor
