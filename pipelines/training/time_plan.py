"""What there is time for in a budget, from steps that are timed and thrown away.

A schedule that is cut at its deadline ends at a high learning rate, so a fine-tuning is planned with as many epochs as fit; the deadline
inside the loop is for what an estimate gets wrong.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from pipelines.config import LpFtMethod
from pipelines.staging import replace_file
from pipelines.training.material import Deadline, Material
from pipelines.training.optimization import trainable_groups
from pipelines.training.precision import choose_precision
from pipelines.training.rungs import Rung
from pipelines.training.runtime import Runtime
from pipelines.training.tried import TriedWays

if TYPE_CHECKING:
    import torch
    from torch import nn

# Samples of a timed step: more would be more exact and take longer than what it saves.
_BATCH_SIZE = 16
# Share of the time left that is planned with.
_PLANNED_FRAC = 0.9
_N_WISE_FT_PASSES = 11


@dataclass(frozen=True)
class TimePlan:
    """What the main process finds time for; the others do as it says, since their clocks may differ.

    Attributes:
        store: Where a plan is kept beside the way that it is for, so that a resumed training has the schedule that it began with.
        deadline: Of all.
        cut: Names of the ways that the budget shortened or left out.
    """

    store: TriedWays
    deadline: Deadline
    cut: set[str] = field(default_factory=set)

    def epochs(self, rung: Rung) -> int:
        """For how many epochs there is time, at most those of the section; 0 where not for one."""
        path = self.store.running(rung.name) / "plan.json"
        if self.store.is_on_disk(path):
            n_epochs = int(json.loads(path.read_bytes())["epochs"])
        else:
            seconds = epoch_seconds(self.store.material, rung.section, self.store.runtime)
            n_epochs = min(rung.section.epochs, int(self._available_seconds(rung) * _PLANNED_FRAC / seconds))
            n_epochs = round(self.store.runtime.sum(n_epochs if self.store.runtime.is_main else 0))
            if n_epochs and self.store.runtime.is_main:
                replace_file(path, json.dumps({"epochs": n_epochs}).encode(), path.parent / "unfinished")
            self.store.runtime.barrier()
        if n_epochs < rung.section.epochs:
            self.cut.add(rung.name)
        return n_epochs

    def allows_wise_ft(self, name: str) -> bool:
        """Whether there is time to measure the points between start and end."""
        seconds = forward_seconds(self.store.material) * _N_WISE_FT_PASSES
        has_time = self.store.runtime.is_main and seconds < self.deadline.remaining_seconds * _PLANNED_FRAC
        allowed = self.store.runtime.any(has_time)
        if not allowed:
            self.cut.add(name)
        return allowed

    def deadline_of(self, rung: Rung) -> Deadline:
        """When the rung must stop: at the end of all, or of its own section's budget."""
        seconds = self._available_seconds(rung)
        return Deadline(seconds if math.isfinite(seconds) else None)

    def _available_seconds(self, rung: Rung) -> float:
        own = rung.section.budget_minutes
        return min(self.deadline.remaining_seconds, math.inf if own is None else own * 60)


def epoch_seconds(material: Material, section: LpFtMethod, runtime: Runtime) -> float:
    """Time of one epoch with its validation: computing only, without reading files.

    Args:
        material: Of the training.
        section: Which blocks are trained.
        runtime: Its memory format and precision are those of the training.
    """
    import torch

    network = material.fresh_backbone(0.0).eval().requires_grad_(requires_grad=False).to(memory_format=torch.channels_last)
    batch = _batch(material, network)
    runtime = runtime.at(choose_precision(material.config.compute.precision, network, batch.cpu(), runtime.device))
    with torch.inference_mode():
        forward = _timed(lambda: network(batch).sum())
    for group in trainable_groups(network, section.n_upper_blocks):
        for parameter in group:
            parameter.requires_grad = True
    step = _timed(lambda: _backward(network, batch, runtime))
    return (len(material.train) * step + len(material.validation) * forward) / len(batch)


def forward_seconds(material: Material) -> float:
    """Time of one pass of the validation samples through the network."""
    import torch

    network = material.fresh_backbone(0.0).eval()
    batch = _batch(material, network)
    with torch.inference_mode():
        return _timed(lambda: network(batch).sum()) * len(material.validation) / len(batch)


def _batch(material: Material, network: nn.Module) -> torch.Tensor:
    import torch

    indices = np.arange(min(_BATCH_SIZE, len(material.train)))
    return torch.from_numpy(material.train.batch(indices)).to(next(network.parameters()).device)


def _backward(network: nn.Module, batch: torch.Tensor, runtime: Runtime) -> torch.Tensor:
    with runtime.autocast():
        result: torch.Tensor = network(batch).sum()
    result.backward()  # type: ignore[no-untyped-call]  # torch 2.15 leaves it untyped
    return result.detach()


def _timed(step: Callable[[], torch.Tensor]) -> float:
    """Seconds of the second of two calls: the first one sets things up. Reading the result waits for a GPU."""
    started = 0.0
    for _ in range(2):
        started = time.perf_counter()
        float(step())
    return time.perf_counter() - started
