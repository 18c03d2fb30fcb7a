"""A training that takes milliseconds: 8 x 8 images of four classes through a network of two convolutions."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pipelines.backbones import load_backbone, select_backbone
from pipelines.config import FineTuneMethod, ProjectConfig, TimmBackbone
from pipelines.core.preprocess import ImagePreprocess
from pipelines.dataset import Sample, read_samples
from pipelines.progress import silent
from pipelines.training.embedding import embed
from pipelines.training.inputs import SampleInputs
from pipelines.training.material import Deadline, Material
from pipelines.training.runtime import Runtime
from pipelines.training.training_plan import TrainingPlan
from tests.pipelines.conftest import tiny_config

LABELS = ("0", "1", "2", "3")
PREPROCESS = ImagePreprocess(color="L", height_px=8, width_px=8, mean=(0.0,), std=(1.0,))
EVERYTHING: dict[str, object] = {
    "ema_decay": 0.9,
    "dropout": 0.3,
    "l2_sp": 0.01,
    "label_smoothing": 0.1,
    "after": ["greedy_soup", "wise_ft"],
    "augment": {"policy": "shift_scale_rotate", "flips": "horizontal", "mixup_alpha": 0.4, "cutmix_alpha": 1.0},
}


class Arrays:
    """Samples in memory."""

    def __init__(self, n: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.targets: NDArray[Any] = np.arange(n) % len(LABELS)
        self.images = rng.normal(size=(n, 1, 8, 8)).astype(np.float32)
        self.images[np.arange(n), 0, self.targets] += 1.0
        self.samples = [Sample(f"{seed}-{index}", f"{index:04d}.png", str(index % 4), "", "", "", "train") for index in range(n)]
        self.asked: list[int] = []

    def __len__(self) -> int:
        return len(self.samples)

    def batch(self, indices: Any) -> NDArray[np.float32]:
        self.asked += [int(index) for index in indices]
        return self.images[np.asarray(indices, dtype=np.int64)]


class Backbone(nn.Module):
    """Two blocks with batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.lower = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2))
        self.upper = nn.Sequential(nn.Conv2d(4, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.upper(self.lower(batch))
        return result


def network(seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return nn.Sequential(Backbone(), nn.Linear(8, len(LABELS)))


def config(**changes: object) -> ProjectConfig:
    content: dict[str, object] = {
        "project": "tiny-digits",
        "task": "image",
        "labels": LABELS,
        "backbone": {"kind": "shipped"},
        "compute": {"precision": "fp32"},
        "gates": [{"kind": "min_metric", "floor": 0.5}],
    }
    return ProjectConfig.model_validate(content | changes)


def recipe(**changes: object) -> FineTuneMethod:
    quiet: dict[str, object] = {"kind": "fine_tune", "epochs": 3, "batch_size": 6, "learning_rate": 0.02, "augment": {"policy": "none"}}
    return FineTuneMethod.model_validate(quiet | {"early_stopping_epochs": None} | changes)


def plan(folder: Path, method: FineTuneMethod | None = None, model: nn.Sequential | None = None, **changes: Any) -> TrainingPlan:
    """A training that writes a checkpoint after every step."""
    model = model or network()
    method = method or recipe()
    groups = [list(model[0].upper.parameters()), list(model[0].lower.parameters())]
    flips = {"horizontal": ("horizontal",)}.get(method.augment.flips, ())
    whole = TrainingPlan(
        name="fine_tune",
        network=model,
        upper=model,
        groups=groups,
        n_open=lambda _: len(groups),
        recipe=method,
        train=Arrays(20, seed=1),
        validation=Arrays(16, seed=2),
        flips=flips,
        preprocess=PREPROCESS,
        config=config(),
        runtime=Runtime(torch.device("cpu")),
        checkpoints=folder,
        deadline=Deadline(None),
        progress=silent,
        seconds_between_checkpoints=0.0,
    )
    return dataclasses.replace(whole, **changes)


class Limit:
    """A deadline that is over after so many looks at it."""

    seconds = 1.0

    def __init__(self, n_looks: int) -> None:
        self.left = n_looks

    @property
    def is_over(self) -> bool:
        self.left -= 1
        return self.left < 0


def small_material(weights: Path, digits: Path, folder: Path, method: dict[str, object], **changes: object) -> Material:
    """40 real digits for training and 40 for validation, and an untrained tiny ResNet for a pretrained backbone."""
    whole = tiny_config(weights, method=method, **({"compute": {"precision": "fp32"}} | changes))
    assert isinstance(whole.backbone, TimmBackbone)
    backbone, selected = whole.backbone, select_backbone(whole.backbone)

    def fresh_backbone(drop_path: float) -> nn.Module:
        return load_backbone(backbone, selected, drop_path)

    def inputs(split: Any) -> SampleInputs:
        samples = sorted(read_samples(digits / "samples.csv", split), key=lambda sample: sample.id)[:40]
        return SampleInputs(samples, digits / "data", selected.preprocess, whole.labels)

    return Material(
        fresh_backbone=fresh_backbone,
        selected=selected,
        train=inputs("train"),
        validation=inputs("validation"),
        config=whole,
        features=lambda source: embed(fresh_backbone(0.0), source),
        kept_activations=folder / "activations",
        checkpoints=folder / "checkpoints",
        progress=silent,
    )


class StoppedError(Exception):
    """Raised in the place of a kill."""


def stopping_at(n_steps: int) -> Any:
    """A progress that ends the training after so many steps, as hard as one process can."""

    def progress(activity: str, done: int, total: int) -> None:
        if done == n_steps:
            raise StoppedError

    return progress


def same(first: Any, second: Any) -> bool:
    """Whether two state dicts are equal to the bit."""
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def copied(state: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in state.items()}
