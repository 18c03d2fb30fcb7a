"""A small project on real digits that every stage test may use: 8 x 8 images through a tiny untrained backbone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.config import ProjectConfig
from pipelines.core.bundle import file_sha256
from pipelines.dataset import Sample, Split, write_samples

LABELS = ("0", "1", "2", "3")


def tiny_config(weights: Path, **changes: object) -> ProjectConfig:
    """A project with four digits and a tiny timm architecture."""
    content: dict[str, object] = {
        "project": "tiny-digits",
        "task": "image",
        "labels": LABELS,
        "backbone": {
            "kind": "timm",
            "name": "test_resnet",
            "weights": str(weights),
            "sha256": file_sha256(weights),
            "in_channels": 1,
            "preprocess": {"color": "L", "height_px": 32, "width_px": 32, "mean": [0.5], "std": [0.5]},
        },
        "method": {"kind": "lp_ft", "n_upper_blocks": 1, "epochs": 2, "batch_size": 32},
        "gates": [{"kind": "min_metric", "floor": 0.5}],
    }
    return ProjectConfig.model_validate(content | changes)


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of an untrained `test_resnet` with one input channel, its classifier left out."""
    import safetensors.torch
    import timm
    import torch

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "test_resnet.safetensors"
    network = timm.create_model("test_resnet", in_chans=1, num_classes=0)
    safetensors.torch.save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, path)
    return path


@pytest.fixture(scope="session")
def digits_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`data/` with 240 real digits of four classes, and `samples.csv` with splits beside it."""
    from sklearn.datasets import load_digits

    root = tmp_path_factory.mktemp("digits")
    (root / "data").mkdir()
    digits = load_digits()
    samples = []
    for index in np.flatnonzero(digits.target < len(LABELS))[:240]:
        path = f"{index:04d}.png"
        Image.fromarray((digits.images[index] * 255 // 16).astype(np.uint8)).save(root / "data" / path)
        split: Split = ("train", "train", "validation", "test")[index % 4]
        label = LABELS[digits.target[index]]
        samples.append(Sample(file_sha256(root / "data" / path), path, label, path, "default", "", split))
    write_samples(samples, root / "samples.csv")
    return root
