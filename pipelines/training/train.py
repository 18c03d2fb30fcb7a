"""Stage `train`: grafts a backbone onto the training split by the configured method.

weights.safetensors      backbone.* and head.*
validation.safetensors   `logits` [n, k], `targets` and `groups` (int64 [n]) of the validation split
training.json            what was tried and chosen, with curves; nothing in it depends on time
costs.json               seconds that each fine-tuning took, and with `auto` each way
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from pipelines.config import AdaptMethod, ProjectConfig
from pipelines.core.bundle import canonical_json
from pipelines.dataset import read_samples
from pipelines.progress import Progress, silent
from pipelines.selected_backbone import read_selected
from pipelines.split import content_digests
from pipelines.training.adaptation.adapt import refuse_unfit, train_adapted
from pipelines.training.auto import train_auto
from pipelines.training.embedding import embed
from pipelines.training.fine_tuning import train_fine_tune, train_gradual, train_lp_ft, train_scratch
from pipelines.training.gathering import material_for
from pipelines.training.inputs import SampleInputs
from pipelines.training.linear import train_probe
from pipelines.training.lora import train_lora
from pipelines.training.material import Material, Trained
from pipelines.training.network_tensors import network_tensors
from pipelines.training.prototype import train_prototype
from pipelines.training.setfit import train_setfit
from pipelines.unlabelled import read_unlabelled, refuse_judged_samples, unlabelled_digests

# The second argument is the method's own section of the configuration.
Method = Callable[[Material, Any], Trained]


def _adapt(material: Material, method: AdaptMethod) -> Trained:
    refuse_unfit(material, method)
    return train_adapted(material, method, METHODS[method.source.kind](material, method.source))


METHODS: dict[str, Method] = {
    "auto": train_auto,
    "probe": train_probe,
    "prototype": train_prototype,
    "fine_tune": train_fine_tune,
    "lp_ft": train_lp_ft,
    "gradual": train_gradual,
    "scratch": train_scratch,
    "lora": train_lora,
    "setfit": train_setfit,
    "adapt": _adapt,
}


@dataclass(frozen=True)
class KeptFolders:
    """Folders that outlive a run and may be deleted at any time: the result is the same with and without what is in them.

    Attributes:
        features: Features of pretrained backbones, of all runs.
        checkpoints: Of this very training.
    """

    features: Path
    checkpoints: Path


def train(
    samples: Path, data: Path, selected: Path, config: ProjectConfig, kept: KeptFolders, out: Path, progress: Progress = silent
) -> None:
    """Trains on the training split, chooses on the validation split.

    Args:
        samples: `samples.csv` with splits, in the output of stage `split`.
        data: The folder that sample paths are relative to.
        selected: `backbone.json` of stage `select`.
        config: The project's.
        kept: Where what is cheap to repeat is kept.
        out: Empty directory.
        progress: Told after every batch of features and every epoch.
    """
    import safetensors.torch

    if isinstance(config.method, AdaptMethod) and config.method.unlabelled is not None:
        unlabelled = read_unlabelled(data, config.method.unlabelled)
        contents = content_digests(samples.parent) | unlabelled_digests(data, unlabelled, config.task)
        refuse_judged_samples(read_samples(samples), unlabelled, contents)
    material = gather(samples, data, selected, config, kept, progress)
    trained = METHODS[config.method.kind](material, config.method)
    known = trained.validation_logits
    logits = embed(trained.network, material.validation, n_workers=config.compute.n_workers) if known is None else known
    safetensors.torch.save_file(network_tensors(trained.network), out / "weights.safetensors")
    _save_validation(logits, material.validation, out / "validation.safetensors")
    (out / "training.json").write_bytes(canonical_json(trained.record))
    costs: dict[str, JsonValue] = dict(trained.costs_seconds)
    (out / "costs.json").write_bytes(canonical_json(costs))


def gather(samples: Path, data: Path, selected: Path, config: ProjectConfig, kept: KeptFolders, progress: Progress) -> Material:
    """What the methods work with, from what the stages before wrote."""
    return material_for(read_selected(selected), samples, data, config, kept.features, kept.checkpoints, progress)


def _save_validation(logits: object, validation: SampleInputs, path: Path) -> None:
    import numpy as np
    import safetensors.numpy

    _, groups = np.unique([sample.group for sample in validation.samples], return_inverse=True)
    tensors = {"logits": np.ascontiguousarray(logits, dtype=np.float32), "targets": validation.targets, "groups": groups.astype(np.int64)}
    safetensors.numpy.save_file(tensors, path)
