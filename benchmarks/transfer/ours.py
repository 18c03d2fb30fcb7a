"""Regraft, through the stage `train` as a retraining runs it: `python -m benchmarks.transfer.ours METHOD [KEPT]`, jobs on standard input.

What training imports when it first needs it is imported before the clock starts, as the peers do. KEPT is a workspace's folder with what
earlier jobs left: the backbone that they resolved and its features; without it nothing is kept from before.
"""

from __future__ import annotations

import importlib
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch

from benchmarks.transfer.job import Job, Outcome, run_contender
from pipelines.config import ProjectConfig, ShippedBackbone, SingleBackbone, TimmBackbone
from pipelines.core.backbones import build_backbone
from pipelines.core.bundle import file_sha256
from pipelines.core.heads import build_head
from pipelines.dataset import Sample, Split, read_samples, write_samples
from pipelines.selected_backbone import read_selected
from pipelines.stages import Stages
from pipelines.training.embedding import embed
from pipelines.training.inputs import SampleInputs
from pipelines.training.train import KeptFolders, train
from pipelines.workspace import Workspace

IMPORTED_WHEN_NEEDED = ("sklearn.model_selection", "timm", "torch._dynamo")
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


def contend(job: Job, folder: Path) -> Outcome:
    torch.set_num_threads(job.n_threads)
    for module in IMPORTED_WHEN_NEEDED:
        importlib.import_module(module)
    config = project(job, sys.argv[1])
    folder = Path(tempfile.mkdtemp(dir=folder))
    stages = Stages(Workspace(Path(sys.argv[2]) if len(sys.argv) > 2 else folder / "kept"), config)
    started = time.perf_counter()
    selected = learn(job, stages, folder)
    seconds = time.perf_counter() - started
    record = json.loads((folder / "out" / "training.json").read_text())
    return Outcome(test_accuracy(config, selected, folder), seconds, note=str(record.get("kept", record["method"])))


def project(job: Job, method: str) -> ProjectConfig:
    """The conf file of this job."""
    sections: dict[str, dict[str, Any]] = {
        "auto": {"kind": "auto", "budget_minutes": job.budget_seconds / 60, "fine_tune": {"augment": augment(job)}},
        "probe": {"kind": "probe"},
        "lp_ft": {"kind": "lp_ft", "augment": augment(job)},
    }
    content = {
        "project": "benchmark",
        "task": "image",
        "labels": job.labels,
        "backbone": backbone(job).model_dump(),
        "method": sections[method],
        "seed": job.seed,
    }
    return ProjectConfig.model_validate(content | {"gates": [{"kind": "goldens"}]})


def backbone(job: Job) -> SingleBackbone:
    """The conf file's entry: the shipped backbone for symbols, a file of weights for photographs."""
    if job.in_channels == 1:
        return ShippedBackbone(kind="shipped", name="omniglot_resnet")
    size = {"height_px": job.side_px, "width_px": job.side_px, "fit": "crop"}
    entry = {
        "kind": "timm",
        "name": job.architecture,
        "weights": job.weights,
        "sha256": file_sha256(Path(job.weights)),
        "in_channels": job.in_channels,
        "model_args": job.model_args,
        "preprocess": {"color": "RGB", **size, "mean": job.mean, "std": job.std},
    }
    return TimmBackbone.model_validate(entry)


def augment(job: Job) -> dict[str, str]:
    """Photographs may be mirrored, symbols not."""
    return {"flips": "horizontal"} if job.flips else {}


def learn(job: Job, stages: Stages, folder: Path) -> Path:
    """Stages `select` and `train`; gives the `backbone.json` of the first."""
    rows = [(split, path, label) for split in SPLITS for path, label in getattr(job, split)]
    samples = [Sample(file_sha256(Path(path)), path, label, path, "default", "", split) for split, path, label in rows]
    write_samples(samples, folder / "samples.csv")
    selected = stages.select().path / "backbone.json"
    (folder / "out").mkdir()
    kept = KeptFolders(stages.workspace.features, folder / "checkpoints")
    train(folder / "samples.csv", Path("/"), selected, stages.config, kept, folder / "out")
    return selected


def test_accuracy(config: ProjectConfig, backbone_json: Path, folder: Path) -> float:
    """From the written weights, as float32: what a bundle would hold."""
    selected = read_selected(backbone_json)
    tensors = safetensors.torch.load_file(folder / "out" / "weights.safetensors")
    backbone, head = build_backbone(selected.spec), build_head(tensors["head.weight"].shape[1], len(config.labels))
    for prefix, module in (("backbone.", backbone), ("head.", head)):
        module.load_state_dict({name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)})
    inputs = SampleInputs(read_samples(folder / "samples.csv", "test"), Path("/"), selected.preprocess, config.labels)
    logits = embed(torch.nn.Sequential(backbone, head), inputs)
    return float((np.argmax(logits, axis=1) == inputs.targets).mean())


if __name__ == "__main__":
    run_contender(contend)
