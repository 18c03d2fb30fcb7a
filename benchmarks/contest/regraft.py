"""Regraft through the stages `select` and `train` as a retraining runs them, and what would ship judged on the test samples.

What training imports when it first needs it is imported before the clock starts, as the peers do.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.torch
import torch

from benchmarks.contest.job import Outcome, Stopwatch
from pipelines.core.backbones import build_backbone
from pipelines.core.heads import build_head
from pipelines.dataset import Sample, Split, read_samples, write_samples
from pipelines.selected_backbone import read_selected
from pipelines.stages import Stages
from pipelines.training.embedding import embed
from pipelines.training.inputs import SampleInputs
from pipelines.training.train import KeptFolders, train

SPLITS: tuple[Split, ...] = ("train", "validation", "test")


@dataclass(frozen=True)
class Learning:
    """One training.

    Attributes:
        stages: Of the conf file, of one backbone, and of the workspace's folder where things are kept.
        data: What sample paths are relative to.
        folder: Of what the training writes.
    """

    stages: Stages
    data: Path
    folder: Path

    def learn(self, samples: Sequence[Sample]) -> None:
        """Stages `select` and `train`."""
        write_samples(samples, self.folder / "samples.csv")
        selected = self._selected()
        (self.folder / "out").mkdir()
        kept = KeptFolders(self.stages.workspace.features, self.folder / "checkpoints")
        train(self.folder / "samples.csv", self.data, selected, self.stages.config, kept, self.folder / "out")

    def outcome(self, watch: Stopwatch) -> Outcome:
        """What was learnt since the watch began."""
        seconds = watch.read()
        record = json.loads((self.folder / "out" / "training.json").read_text())
        return Outcome(self._test_accuracy(), *seconds, note=str(record.get("kept", record["method"])))

    def _selected(self) -> Path:
        return self.stages.select().path / "backbone.json"

    def _test_accuracy(self) -> float:
        """From the written weights, as float32: what a bundle would hold."""
        labels, selected = self.stages.config.labels, read_selected(self._selected())
        tensors = safetensors.torch.load_file(self.folder / "out" / "weights.safetensors")
        backbone, head = build_backbone(selected.spec), build_head(tensors["head.weight"].shape[1], len(labels))
        for prefix, module in (("backbone.", backbone), ("head.", head)):
            module.load_state_dict({name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)})
        samples = read_samples(self.folder / "samples.csv", "test")
        inputs = SampleInputs(samples, self.data, selected.preprocess, labels, folder=selected.folder)
        logits = embed(torch.nn.Sequential(backbone, head), inputs)
        return float((np.argmax(logits, axis=1) == inputs.targets).mean())


def prepare(n_threads: int, modules: Sequence[str]) -> None:
    """What comes before the clock starts."""
    torch.set_num_threads(n_threads)
    for module in modules:
        importlib.import_module(module)
