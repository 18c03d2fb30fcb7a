"""Sounds that can be told apart, an untrained network of a few thousand weights that hears them, and a project of both."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import safetensors.torch
import soundfile
import timm
import torch
from numpy.typing import NDArray

from pipelines.config import ProjectConfig
from pipelines.core.bundle import file_sha256

LABELS = ("high", "low")
_HZ = {"high": (1_500.0, 3_500.0), "low": (150.0, 400.0)}
# Patches of a third of a second.
PREPROCESS = {"kind": "audio", "patch_frames": 32, "patch_hop_frames": 32, "max_patches": 4, "mean": -3.0, "std": 2.0}


def as_file(samples: NDArray[np.floating], rate_hz: int = 16_000, kind: str = "WAV", subtype: str | None = None) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate_hz, format=kind, subtype=subtype)
    return buffer.getvalue()


def sound(label: str, seed: int, rate_hz: int = 16_000) -> NDArray[np.float64]:
    """A tone of the label's range over some noise, of 0.2 to 2 s, with 16 bits: a file of these keeps it as it is."""
    rng = np.random.default_rng(seed)
    hz = rng.uniform(*_HZ[label])
    times = np.arange(int(rng.uniform(0.2, 2.0) * rate_hz)) / rate_hz
    samples = 0.3 * np.sin(2 * np.pi * hz * times) + 0.01 * rng.standard_normal(len(times))
    return np.asarray((samples * 2**15).round() / 2**15)


def write_sounds(folder: Path, n: int, first_seed: int = 0) -> Path:
    """Class folders of WAV files, labels in turn."""
    for number in range(n):
        label = LABELS[number % 2]
        (folder / label).mkdir(parents=True, exist_ok=True)
        (folder / label / f"{number:03d}.wav").write_bytes(as_file(sound(label, first_seed + number)))
    return folder


def write_weights(path: Path) -> Path:
    """Of an untrained network with one input channel."""
    torch.manual_seed(0)
    network = timm.create_model("test_resnet", pretrained=False, in_chans=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, path)
    return path


def backbone_entry(weights: Path, **changes: object) -> dict[str, object]:
    """Its entry in a conf file."""
    stated = {"weights": str(weights), "sha256": file_sha256(weights), "preprocess": PREPROCESS}
    return {"kind": "spectrogram", "name": "test_resnet", **stated, **changes}


def audio_config(weights: Path, **changes: object) -> ProjectConfig:
    """A project for two kinds of tones."""
    content: dict[str, object] = {
        "project": "tiny-sounds",
        "task": "audio",
        "labels": LABELS,
        "backbone": backbone_entry(weights),
        "method": {"kind": "probe"},
        "gates": [{"kind": "min_metric", "floor": 0.5}],
    }
    return ProjectConfig.model_validate(content | changes)
