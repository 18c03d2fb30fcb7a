"""Ways that method `auto` has tried, each kept on disk as soon as it is finished: a kill costs no more than the way that was running.

    CHECKPOINTS/finished/WAY/   weights.safetensors (backbone.*, head.*, logits), way.json (record and costs)
    CHECKPOINTS/running/WAY/    what the way itself keeps while it trains

Letters for shapes: n samples, k labels.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from pipelines.core.bundle import canonical_json
from pipelines.core.heads import build_head
from pipelines.staging import staged_folder
from pipelines.training.choice import Way
from pipelines.training.embedding import embed
from pipelines.training.material import Material, Trained
from pipelines.training.network_tensors import network_tensors
from pipelines.training.runtime import Runtime
from pipelines.training.validation import measure

_RECORD = "way.json"


@dataclass(frozen=True)
class Tried:
    """A way with what it left.

    Attributes:
        way: Its name, complexity and result on validation.
        trained: Its network, record, and logits on validation.
        seconds: What it took, in whichever process it ran.
        is_cut: Whether the budget shortened it.
    """

    way: Way
    trained: Trained
    seconds: float
    is_cut: bool = False


@dataclass(frozen=True)
class TriedWays:
    """The ways of one training, on disk.

    Attributes:
        material: Of the training; its folder of checkpoints is divided among the ways.
        runtime: Only the main process writes.
    """

    material: Material
    runtime: Runtime

    def attempt(self, name: str, complexity: int, make: Callable[[Material], Trained], *, is_cut: bool = False) -> Tried:
        """Runs `make`, or reads what it left when it was finished before.

        Args:
            name: Of the way, unique in this training.
            complexity: See `Way`.
            make: Is given the material with a folder of its own for checkpoints.
            is_cut: Whether it is planned shorter than configured; of a finished way, what was said then.
        """
        finished = self._finished(name)
        if not self.is_finished(name):
            running = self.running(name)
            started = time.monotonic()
            trained = make(replace(self.material, checkpoints=running))
            logits = self._agreed(_validation_logits(self.material, trained))
            trained = replace(trained, validation_logits=logits)
            seconds = time.monotonic() - started
            if self.runtime.is_main:
                _write(trained, logits, seconds, finished, is_cut=is_cut)
                shutil.rmtree(running, ignore_errors=True)
            self.runtime.barrier()
        else:
            trained, logits, seconds, is_cut = _read(self.material, finished)
        result = measure(logits, self.material.validation.targets, self.material.config.labels_per_sample)
        return Tried(Way(name, complexity, result), trained, seconds, is_cut)

    def is_finished(self, name: str) -> bool:
        """Whether the way's result is there."""
        return self.is_on_disk(self._finished(name) / _RECORD)

    def is_on_disk(self, path: Path) -> bool:
        """Whether all processes see the file: machines without a shared disk begin anew, together."""
        return round(self.runtime.sum(float(path.is_file()))) == self.runtime.n_processes

    def running(self, name: str) -> Path:
        """The folder that belongs to the way while it runs."""
        return self.material.checkpoints / "running" / _folder_name(name)

    def spent_seconds(self) -> float:
        """What the finished ways took, in earlier processes."""
        records = (self.material.checkpoints / "finished").glob(f"*/{_RECORD}")
        return sum(float(json.loads(path.read_bytes())["seconds"]) for path in records)

    def _agreed(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        # What follows is decided by them: processes that differ in the last bit could part ways and wait for each other for ever.
        return self.runtime.gather(logits if self.runtime.is_main else logits[:0])

    def _finished(self, name: str) -> Path:
        return self.material.checkpoints / "finished" / _folder_name(name)


def _validation_logits(material: Material, trained: Trained) -> NDArray[np.float32]:
    if trained.validation_logits is not None:
        return trained.validation_logits
    return embed(trained.network, material.validation, material.progress, "validation", n_workers=material.config.compute.n_workers)


def _folder_name(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _write(trained: Trained, logits: NDArray[np.float32], seconds: float, target: Path, *, is_cut: bool) -> None:
    import safetensors.torch
    import torch

    tensors = network_tensors(trained.network)
    tensors["logits"] = torch.from_numpy(np.ascontiguousarray(logits))
    shutil.rmtree(target, ignore_errors=True)
    with staged_folder(target) as staging:
        safetensors.torch.save_file(tensors, staging / "weights.safetensors")
        content: dict[str, JsonValue] = {
            "record": trained.record,
            "costs_seconds": {**trained.costs_seconds},
            "seconds": seconds,
            "is_cut": is_cut,
        }
        (staging / _RECORD).write_bytes(canonical_json(content))


def _read(material: Material, source: Path) -> tuple[Trained, NDArray[np.float32], float, bool]:
    import safetensors.torch
    from torch import nn

    tensors = safetensors.torch.load_file(source / "weights.safetensors")
    content = json.loads((source / _RECORD).read_bytes())
    logits: NDArray[np.float32] = tensors.pop("logits").numpy()
    backbone = material.fresh_backbone(0.0)
    n_labels, n_features = tensors["head.weight"].shape
    head = build_head(n_features, n_labels).to(next(backbone.parameters()).device)
    network = nn.Sequential(backbone, head)
    for part, module in (("backbone.", backbone), ("head.", head)):
        module.load_state_dict({name.removeprefix(part): tensor for name, tensor in tensors.items() if name.startswith(part)})
    return Trained(network, content["record"], content["costs_seconds"], logits), logits, content["seconds"], content.get("is_cut", False)
