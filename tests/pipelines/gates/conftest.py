"""Answers of made-up models, and a small sealed bundle."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from pipelines.answers import TestAnswers


@pytest.fixture(scope="session")
def answers() -> Callable[..., TestAnswers]:
    """Makes answers with the given right and wrong ones; ids and labels follow from the position."""

    def make(
        correct: Sequence[bool] | np.ndarray, domains: Sequence[str] | str = "default", labels: Sequence[str] | str = "cat"
    ) -> TestAnswers:
        right = np.asarray(correct, dtype=bool)
        n = len(right)
        true = np.full(n, labels) if isinstance(labels, str) else np.asarray(labels)
        return TestAnswers(
            ids=np.array([f"id{row:05}" for row in range(n)]),
            domains=np.full(n, domains) if isinstance(domains, str) else np.asarray(domains),
            labels=true,
            predicted=np.where(right, true, "something else"),
            confidences=np.linspace(0.5, 1, n),
        )

    return make


@pytest.fixture(scope="session")
def outcome() -> Callable[[int, int, int], tuple[np.ndarray, np.ndarray]]:
    """Right and wrong answers of the candidate and the champion with the given wins and losses of n; half of the rest is right."""

    def make(n_wins: int, n_losses: int, n: int) -> tuple[np.ndarray, np.ndarray]:
        candidate, champion = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
        candidate[:n_wins] = True
        champion[n_wins : n_wins + n_losses] = True
        both = slice(n_wins + n_losses, n_wins + n_losses + (n - n_wins - n_losses) // 2)
        candidate[both] = champion[both] = True
        return candidate, champion

    return make


@pytest.fixture(scope="session")
def sealed_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real bundle of an untrained network, with goldens that it answers itself."""
    folder = tmp_path_factory.mktemp("sealed") / "bundle"
    build_bundle(folder)
    return folder


def build_bundle(folder: Path) -> None:
    """Writes weights, goldens and manifest, as packaging does."""
    import safetensors.numpy
    import safetensors.torch
    import torch

    from pipelines.core.backbones import BackboneSpec, build_backbone
    from pipelines.core.bundle import BundleManifest, seal
    from pipelines.core.heads import build_head
    from pipelines.core.predict import Predictor
    from pipelines.core.preprocess import ImagePreprocess

    torch.manual_seed(0)
    spec = BackboneSpec(name="test_resnet", in_channels=1, origin="untrained", weights_sha256=None)
    backbone = build_backbone(spec)
    n_features = int(backbone.num_features)
    head = build_head(n_features, 2)
    tensors = {f"backbone.{name}": tensor for name, tensor in backbone.state_dict().items()}
    tensors |= {f"head.{name}": tensor for name, tensor in head.state_dict().items()}
    (folder / "goldens").mkdir(parents=True)
    safetensors.torch.save_file(tensors, folder / "weights.safetensors")
    safetensors.numpy.save_file({"projection": np.eye(n_features, 4, dtype=np.float32)}, folder / "projection.safetensors")
    manifest = BundleManifest(
        project="gate-test",
        task="image",
        labels=("cat", "dog"),
        backbone=spec,
        preprocess=ImagePreprocess(color="L", height_px=32, width_px=32, mean=(0.5,), std=(0.5,)),
        temperature=1.0,
        files={},
    )
    names = write_golden_inputs(folder)
    (folder / "goldens.json").write_text("[]")
    seal(folder, manifest)
    answers = Predictor.load(folder, verify=False).predict([(folder / "goldens" / name).read_bytes() for name in names])
    rows = [
        {"file": name, "label": label, "probabilities": list(probabilities)}
        for name, label, probabilities in zip(names, answers.labels, answers.probabilities.tolist(), strict=True)
    ]
    (folder / "goldens.json").write_text(json.dumps(rows))
    seal(folder, manifest)


def write_golden_inputs(folder: Path) -> list[str]:
    """Four images of noise, named by their content."""
    import hashlib
    import io

    from PIL import Image

    names = []
    for seed in range(4):
        pixels = np.random.default_rng(seed).integers(0, 256, (32, 32), dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, format="PNG")
        names.append(hashlib.sha256(buffer.getvalue()).hexdigest()[:16] + ".bin")
        (folder / "goldens" / names[-1]).write_bytes(buffer.getvalue())
    return names
