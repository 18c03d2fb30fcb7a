from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.backbones import select_backbone
from pipelines.config import ProjectConfig, ShippedBackbone
from pipelines.core.bundle import file_sha256
from pipelines.dataset import Sample, write_samples
from pipelines.progress import silent
from pipelines.training.gathering import material_for
from tests.pipelines.audit.digits import LABELS, Digits


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Digits:
    from sklearn.datasets import load_digits

    root = tmp_path_factory.mktemp("all-digits")
    source = load_digits()
    samples = []
    for index, (pixels, label) in enumerate(zip(source.images, source.target, strict=True)):
        Image.fromarray((pixels * 255 // 16).astype(np.uint8)).save(root / f"{index}.png")
        samples.append(Sample(file_sha256(root / f"{index}.png"), f"{index}.png", str(label), f"{index}", "default", "", "train"))
    write_samples(samples, root / "samples.csv")
    config = ProjectConfig.model_validate(
        {
            "project": "digits",
            "task": "image",
            "labels": LABELS,
            "backbone": {"kind": "shipped"},
            "method": {"kind": "probe"},
            "gates": [{"kind": "goldens"}],
        }
    )
    choice = select_backbone(ShippedBackbone(kind="shipped"))
    material = material_for(choice, root / "samples.csv", Path(root), config, root / "features", root / "checkpoints", silent)
    return Digits(material.features(material.train), material.train.targets)
