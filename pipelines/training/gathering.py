"""Puts together what a training method works with: samples of the splits, the backbone, its features."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.backbones import entry_of, load_backbone
from pipelines.config import ProjectConfig
from pipelines.core.errors import ConfigurationError
from pipelines.dataset import Sample, Split, read_samples
from pipelines.progress import Progress
from pipelines.selected_backbone import SelectedBackbone
from pipelines.training.features import cached_features
from pipelines.training.inputs import SampleInputs
from pipelines.training.material import Material

if TYPE_CHECKING:
    from torch import nn


def material_for(
    choice: SelectedBackbone, samples: Path, data: Path, config: ProjectConfig, features: Path, checkpoints: Path, progress: Progress
) -> Material:
    """What the methods work with under one backbone.

    Args:
        choice: The backbone; of a `best_of` entry, the candidate that it names.
        samples: `samples.csv` with splits.
        data: The folder that sample paths are relative to.
        config: The project's.
        features: Where features of all runs are kept.
        checkpoints: Of this very training.
        progress: Told of every step that takes long.

    Raises:
        ConfigurationError: `device: cuda` without a GPU.
    """
    device = _device(config)

    def fresh_backbone(drop_path: float) -> nn.Module:
        return load_backbone(entry_of(config.backbone, choice), choice, drop_path).to(device)

    def inputs(split: Split) -> SampleInputs:
        return SampleInputs(_ordered(samples, split), data, choice.preprocess, config.labels, config.labels_per_sample, choice.folder)

    return Material(
        fresh_backbone=fresh_backbone,
        selected=choice,
        train=inputs("train"),
        validation=inputs("validation"),
        config=config,
        features=cached_features(lambda: fresh_backbone(0.0), choice, config, features, progress),
        kept_activations=features,
        checkpoints=checkpoints,
        progress=progress,
    )


def _ordered(samples: Path, split: Split) -> list[Sample]:
    # By id: the same samples give the same weights in whatever order the labels came in.
    return sorted(read_samples(samples, split), key=lambda sample: sample.id)


def _device(config: ProjectConfig) -> str:
    import torch

    if config.device == "cuda" and not torch.cuda.is_available():
        raise ConfigurationError(
            got="device: cuda on a machine where torch finds no CUDA device.",
            allowed="device: cpu, or a machine with an NVIDIA GPU and its driver.",
            next_step="set device: cpu in the conf file; nothing falls back to it by itself.",
        )
    return config.device
