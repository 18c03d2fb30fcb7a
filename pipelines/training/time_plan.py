"""What there is time for in a budget, from steps that are timed and thrown away.

A schedule that is cut at its deadline ends at a high learning rate, so a fine-tuning is planned with as many epochs as fit; the deadline
inside the loop is for what an estimate gets wrong.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from pipelines.config import LpFtMethod
from pipelines.core.errors import ConfigurationError
from pipelines.staging import replace_file
from pipelines.training.after import N_WISE_FT_STEPS
from pipelines.training.material import Deadline, Material
from pipelines.training.memory import halved, is_out_of_memory, release_memory
from pipelines.training.optimization import trainable_groups
from pipelines.training.precision import FP32, Precision, choose_precision
from pipelines.training.rungs import Rung
from pipelines.training.runtime import Runtime
from pipelines.training.tried import TriedWays

if TYPE_CHECKING:
    import torch
    from torch import nn

_T = TypeVar("_T")
_log = logging.getLogger(__name__)
# Samples of a timed step: more would be more exact and take longer than what it saves.
_BATCH_SIZE = 16
# Share of the time left that is planned with.
_PLANNED_FRAC = 0.9


@dataclass(frozen=True)
class TimePlan:
    """What the main process finds time for; the others do as it says, since their clocks may differ.

    Attributes:
        store: Where a plan is kept beside the way that it is for, so that a resumed training has the schedule that it began with.
        deadline: Of all.
        cut: Names of the ways that the budget shortened or left out.
        failed: Why a way's step could not be timed, by its name: memory ran out at one sample.
    """

    store: TriedWays
    deadline: Deadline
    cut: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)

    def epochs(self, rung: Rung) -> int:
        """For how many epochs there is time, at most those of the section; 0 where not for one."""
        path = self.store.running(rung.name) / "plan.json"
        if self.store.is_on_disk(path):
            n_epochs = int(json.loads(path.read_bytes())["epochs"])
        else:
            n_epochs = self._planned_epochs(rung)
            if n_epochs and self.store.runtime.is_main:
                replace_file(path, json.dumps({"epochs": n_epochs}).encode(), path.parent / "unfinished")
            self.store.runtime.barrier()
        if n_epochs < rung.section.epochs and rung.name not in self.failed:
            self.cut.add(rung.name)
        return n_epochs

    def _planned_epochs(self, rung: Rung) -> int:
        if not self._has_time():
            return 0
        seconds = self._estimate(rung.name, lambda: epoch_seconds(self.store.material, rung.section, self.store.runtime))
        n_epochs = min(rung.section.epochs, int(self._available_seconds(rung) * _PLANNED_FRAC / seconds))
        return round(self.store.runtime.sum(n_epochs if self.store.runtime.is_main else 0))

    def allows_wise_ft(self, name: str) -> bool:
        """Whether there is time to measure the points between start and end."""
        allowed = self._has_time() and self._has_time(
            self._estimate(name, lambda: forward_seconds(self.store.material)) * (N_WISE_FT_STEPS + 1) / _PLANNED_FRAC
        )
        if not allowed and name not in self.failed:
            self.cut.add(name)
        return allowed

    def _has_time(self, seconds: float = 0.0) -> bool:
        """Whether more than that is left, to the main process: timing a step when nothing is left would only take longer."""
        return self.store.runtime.any(self.store.runtime.is_main and seconds < self.deadline.remaining_seconds)

    def deadline_of(self, rung: Rung) -> Deadline:
        """When the rung must stop: at the end of all, or of its own section's budget."""
        seconds = self._available_seconds(rung)
        return Deadline(seconds if math.isfinite(seconds) else None)

    def _estimate(self, name: str, seconds: Callable[[], float]) -> float:
        try:
            return seconds()
        except ConfigurationError as error:
            if not _is_of_memory(error):
                raise
            _log.warning("%s is left out: %s", name, error.got)
            self.failed[name] = f"left out: {error.got}"
            return math.inf

    def _available_seconds(self, rung: Rung) -> float:
        own = rung.section.budget_minutes
        return min(self.deadline.remaining_seconds, math.inf if own is None else own * 60)


def epoch_seconds(material: Material, section: LpFtMethod, runtime: Runtime) -> float:
    """Time of one epoch with its validation: computing only, without reading files.

    Args:
        material: Of the training.
        section: Which blocks are trained.
        runtime: Its memory format and precision are those of the training, and each process trains on its part of the samples.

    Raises:
        ConfigurationError: Not even one sample fits into memory.
    """
    import torch

    network = material.fresh_backbone(0.0).eval().requires_grad_(requires_grad=False).to(memory_format=torch.channels_last)
    samples = _samples(material)
    # Before what may fail: the processes agree on it.
    runtime = runtime.at(_precision(material, network, samples, runtime))
    forward = _sample_seconds(lambda batch: _forward(network, batch), network, samples)
    for group in trainable_groups(network, section.n_upper_blocks):
        for parameter in group:
            parameter.requires_grad = True
    step = _sample_seconds(lambda batch: _backward(network, batch, runtime), network, samples)
    # The main process validates alone.
    return len(material.train) * step / runtime.n_processes + len(material.validation) * forward


def forward_seconds(material: Material) -> float:
    """Time of one pass of the validation samples through the network.

    Raises:
        ConfigurationError: Not even one sample fits into memory.
    """
    network = material.fresh_backbone(0.0).eval()
    return len(material.validation) * _sample_seconds(lambda batch: _forward(network, batch), network, _samples(material))


def _samples(material: Material) -> torch.Tensor:
    import torch

    wanted = material.config.compute.micro_batch_size or _BATCH_SIZE
    return torch.from_numpy(material.train.batch(np.arange(min(_BATCH_SIZE, wanted, len(material.train)))))


def _precision(material: Material, network: nn.Module, samples: torch.Tensor, runtime: Runtime) -> Precision:
    wanted = material.config.compute.precision
    try:
        return _fitting(lambda size: choose_precision(wanted, network, samples[:size], runtime.device), len(samples))
    except ConfigurationError as error:
        if not _is_of_memory(error):
            raise
        # Said again by the step that is timed; the other processes wait for an answer.
        return FP32


def _sample_seconds(step: Callable[[torch.Tensor], torch.Tensor], network: nn.Module, samples: torch.Tensor) -> float:
    device = next(network.parameters()).device

    def trial(size: int) -> float:
        network.zero_grad()
        batch = samples[:size].to(device)
        return _timed(lambda: step(batch)) / size

    return _fitting(trial, len(samples))


def _fitting(trial: Callable[[int], _T], size: int) -> _T:
    """What the trial gives at the first size, halved and halved again, for which memory is enough."""
    while True:
        try:
            return trial(size)
        except (RuntimeError, MemoryError) as error:
            # The rest is done outside: until this block ends the error keeps the tensors of the trial alive.
            size = halved(size, error)
        release_memory()


def _is_of_memory(error: ConfigurationError) -> bool:
    return error.__cause__ is not None and is_out_of_memory(error.__cause__)


def _forward(network: nn.Module, batch: torch.Tensor) -> torch.Tensor:
    import torch

    with torch.inference_mode():
        result: torch.Tensor = network(batch).sum()
    return result


def _backward(network: nn.Module, batch: torch.Tensor, runtime: Runtime) -> torch.Tensor:
    import torch

    with runtime.autocast():
        result: torch.Tensor = network(batch).sum()
    torch.autograd.backward(result)
    return result.detach()


def _timed(step: Callable[[], torch.Tensor]) -> float:
    """Seconds of the second of two calls: the first one sets things up. Reading the result waits for a GPU."""
    started = 0.0
    for _ in range(2):
        started = time.perf_counter()
        float(step())
    return time.perf_counter() - started
