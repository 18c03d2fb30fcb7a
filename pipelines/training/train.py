"""Stage `train`: grafts a backbone onto the training split by the configured method.

Writes `weights.safetensors` (backbone.* and head.*), `validation.safetensors` (logits and targets) and `training.json`
(what was tried, with curves). Nothing in them depends on time.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from pipelines.backbones import load_backbone, read_selected
from pipelines.config import LpFtMethod, ProbeMethod, ProjectConfig
from pipelines.core.bundle import canonical_json
from pipelines.core.errors import ConfigurationError
from pipelines.core.heads import build_head
from pipelines.dataset import Sample, Split, read_samples
from pipelines.progress import Progress, silent
from pipelines.training.features import embed
from pipelines.training.fine_tune import best_epoch, fine_tune
from pipelines.training.inputs import SampleInputs
from pipelines.training.probe import Probe, fit_probe

if TYPE_CHECKING:
    import torch
    from torch import nn


def train(samples: Path, data: Path, selected: Path, config: ProjectConfig, out: Path, progress: Progress = silent) -> None:
    """Trains on the training split, chooses on the validation split.

    Args:
        samples: `samples.csv` with splits.
        data: The folder that sample paths are relative to.
        selected: `backbone.json` of stage `select`.
        config: The project's.
        out: Empty directory.
        progress: Told after every batch of features and every epoch.
    """
    import safetensors.torch

    choice = read_selected(selected)
    backbone = load_backbone(config.backbone, choice).to(_device(config))
    inputs = {split: SampleInputs(_ordered(samples, split), data, choice.preprocess, config.labels) for split in _USED_SPLITS}
    network, record = METHODS[config.method.kind](backbone, inputs["train"], inputs["validation"], config, progress)
    logits = embed(network, inputs["validation"])
    safetensors.torch.save_file(_named_tensors(network), out / "weights.safetensors")
    _save_validation(logits, inputs["validation"], out / "validation.safetensors")
    (out / "training.json").write_bytes(canonical_json(record))


def _ordered(samples: Path, split: Split) -> list[Sample]:
    # By id: the same samples give the same weights in whatever order the labels came in.
    return sorted(read_samples(samples, split), key=lambda sample: sample.id)


_USED_SPLITS: tuple[Split, ...] = ("train", "validation")


def _train_probe(
    backbone: nn.Module, train_inputs: SampleInputs, validation: SampleInputs, config: ProjectConfig, progress: Progress
) -> tuple[nn.Sequential, dict[str, JsonValue]]:
    method = config.method.probe if isinstance(config.method, LpFtMethod) else config.method
    features = embed(backbone, train_inputs, progress, "features")
    probe = fit_probe(features, train_inputs.targets, len(config.labels), method, config.seed)
    return _with_head(backbone, probe), {"method": "probe", "n_train": len(train_inputs), "probe": _probe_record(probe, method)}


def _train_lp_ft(
    backbone: nn.Module, train_inputs: SampleInputs, validation: SampleInputs, config: ProjectConfig, progress: Progress
) -> tuple[nn.Sequential, dict[str, JsonValue]]:
    network, record = _train_probe(backbone, train_inputs, validation, config, progress)
    if not isinstance(config.method, LpFtMethod):
        raise TypeError(f"method lp_ft was given the configuration of {config.method.kind}")
    curve = fine_tune(network, train_inputs, validation, config.method, config.seed, progress)
    rows: list[JsonValue] = [dict(epoch.as_row()) for epoch in curve]
    return network, record | {"method": "lp_ft", "curve": rows, "best_epoch": best_epoch(curve)}


Method = Callable[["nn.Module", SampleInputs, SampleInputs, ProjectConfig, Progress], "tuple[nn.Sequential, dict[str, JsonValue]]"]
METHODS: dict[str, Method] = {"probe": _train_probe, "lp_ft": _train_lp_ft}


def _with_head(backbone: nn.Module, probe: Probe) -> nn.Sequential:
    import torch
    from torch import nn

    head = build_head(probe.weight.shape[1], probe.weight.shape[0])
    head.load_state_dict({"weight": torch.from_numpy(probe.weight), "bias": torch.from_numpy(probe.bias)})
    return nn.Sequential(backbone, head.to(next(backbone.parameters()).device))


def _probe_record(probe: Probe, method: ProbeMethod) -> dict[str, JsonValue]:
    losses: list[JsonValue] = [
        {"strength": strength, "log_loss": loss} for strength, loss in zip(method.strengths, probe.cross_validation, strict=True)
    ]
    return {"strength": probe.strength, "cross_validation": losses}


def _named_tensors(network: nn.Sequential) -> dict[str, torch.Tensor]:
    backbone, head = network
    return {f"backbone.{name}": tensor.cpu().contiguous() for name, tensor in backbone.state_dict().items()} | {
        f"head.{name}": tensor.cpu().contiguous() for name, tensor in head.state_dict().items()
    }


def _save_validation(logits: object, validation: SampleInputs, path: Path) -> None:
    import numpy as np
    import safetensors.numpy

    safetensors.numpy.save_file({"logits": np.ascontiguousarray(logits, dtype=np.float32), "targets": validation.targets}, path)


def _device(config: ProjectConfig) -> str:
    import torch

    if config.device == "cuda" and not torch.cuda.is_available():
        raise ConfigurationError(
            got="device: cuda on a machine where torch finds no CUDA device.",
            allowed="device: cpu, or a machine with an NVIDIA GPU and its driver.",
            next_step="set device: cpu in the conf file; nothing falls back to it by itself.",
        )
    return config.device
