"""A small real bundle, and endpoints around it."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.core.bundle import BundleManifest, seal
from pipelines.core.preprocess import ImagePreprocess

LABELS = ("cat", "dog", "owl")


def png(seed: int, height_px: int = 24, width_px: int = 20) -> bytes:
    """A colour image of noise around a random tone, so that a random network gives different answers."""
    generator = np.random.default_rng(seed)
    pixels = np.clip(generator.normal(generator.uniform(0, 255, 3), 60, (height_px, width_px, 3)), 0, 255).astype(np.uint8)
    return encoded(Image.fromarray(pixels))


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind)
    return stream.getvalue()


def make_bundle(
    folder: Path,
    seed: int = 0,
    labels: tuple[str, ...] = LABELS,
    fit: str = "squash",
    n_goldens: int = 5,
    thresholds: tuple[float, ...] | None = None,
) -> str:
    """Seals a bundle of an untrained network in `folder`; returns its id."""
    import safetensors.numpy
    import safetensors.torch
    import torch

    from pipelines.core.backbones import BackboneSpec, build_backbone
    from pipelines.core.heads import build_head
    from pipelines.core.signals import random_projection

    spec = BackboneSpec(name="test_resnet", in_channels=3, origin="untrained", weights_sha256=None)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        backbone = build_backbone(spec)
        head = build_head(backbone.num_features, len(labels))
    folder.mkdir(parents=True)
    tensors = {f"backbone.{name}": value for name, value in backbone.state_dict().items()}
    tensors |= {f"head.{name}": value * 4 for name, value in head.state_dict().items()}
    safetensors.torch.save_file(tensors, folder / "weights.safetensors")
    projection = random_projection(backbone.num_features, 4, seed)
    safetensors.numpy.save_file({"projection": projection}, folder / "projection.safetensors")
    safetensors.numpy.save_file({"embeddings": np.zeros((1, 4), np.float32)}, folder / "reference.safetensors")
    (folder / "lineage.json").write_text(json.dumps({"seed": seed}))
    (folder / "card.md").write_text("An untrained network for tests.\n")
    preprocess = ImagePreprocess(color="RGB", height_px=32, width_px=32, fit=fit, mean=(0.5,) * 3, std=(0.5,) * 3, max_pixels=4_000_000)
    manifest = BundleManifest(
        project="test-animals",
        task="image",
        labels=labels,
        labels_per_sample="one" if thresholds is None else "many",
        thresholds=thresholds,
        backbone=spec,
        preprocess=preprocess,
        temperature=1.0,
        files={},
    )
    _write_goldens(folder, manifest, n_goldens)
    return seal(folder, manifest)


def _write_goldens(folder: Path, manifest: BundleManifest, n_goldens: int) -> None:
    from pipelines.core.predict import Predictor

    images = [png(1000 + index) for index in range(n_goldens)]
    (folder / "goldens").mkdir()
    (folder / "goldens.json").write_text("[]")
    seal(folder, manifest)
    answers = Predictor.load(folder, verify=False).predict(images)
    goldens = []
    for image, label, row in zip(images, answers.labels, answers.probabilities.tolist(), strict=True):
        name = f"{hashlib.sha256(image).hexdigest()[:16]}.bin"
        (folder / "goldens" / name).write_bytes(image)
        goldens.append({"file": name, "label": label, "probabilities": row})
    (folder / "goldens.json").write_text(json.dumps(goldens))


@dataclass(frozen=True)
class TestBundle:
    __test__ = False

    id: str
    path: Path


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> TestBundle:
    folder = tmp_path_factory.mktemp("bundles") / "first"
    return TestBundle(make_bundle(folder, seed=0), folder)


@pytest.fixture(scope="session")
def other_bundle(tmp_path_factory: pytest.TempPathFactory) -> TestBundle:
    """Other weights, and one more label."""
    folder = tmp_path_factory.mktemp("bundles") / "second"
    return TestBundle(make_bundle(folder, seed=1, labels=(*LABELS, "yak")), folder)


@pytest.fixture(scope="session")
def bundle_of_sets(tmp_path_factory: pytest.TempPathFactory) -> TestBundle:
    """Any number of labels a sample; thresholds that give the images of these tests different sets."""
    folder = tmp_path_factory.mktemp("bundles") / "sets"
    return TestBundle(make_bundle(folder, seed=0, thresholds=(0.55, 0.45, 0.5)), folder)


@pytest.fixture(scope="session")
def built(bundle: TestBundle, tmp_path_factory: pytest.TempPathFactory) -> object:
    """A Bento with `bundle` inside."""
    from serving.build import build_bento

    return build_bento(bundle.path, "test-animals", tmp_path_factory.mktemp("bentoml"))


@pytest.fixture
def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def damaged_bundle(other_bundle: TestBundle, tmp_path: Path) -> TestBundle:
    """`other_bundle` with one bit of one weight turned."""
    folder = tmp_path / "damaged"
    shutil.copytree(other_bundle.path, folder)
    weights = folder / "weights.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    return TestBundle(other_bundle.id, folder)


@pytest.fixture
def start_endpoint() -> Iterator[Callable[..., object]]:
    """Starts endpoints without a server around them and stops them after the test."""
    from serving.endpoint import Endpoint
    from serving.settings import EndpointSettings

    with ExitStack() as stack:

        def start(packaged: Path, wait: bool = True, **settings: object) -> Endpoint:
            endpoint = Endpoint(EndpointSettings(**settings), packaged)
            endpoint.start()
            stack.callback(endpoint.stop)
            if wait:
                wait_until(lambda: endpoint.slot.current is not None)
            return endpoint

        yield start


def wait_until(holds: Callable[[], bool], seconds: float = 20) -> None:
    import time

    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


@pytest.fixture
def small_images() -> list[bytes]:
    return [png(seed) for seed in range(3)]


@pytest.fixture
def helpers() -> dict[str, Callable[..., object]]:
    """The functions of this file, which test files cannot import."""
    return {"png": png, "encoded": encoded, "wait_until": wait_until, "make_bundle": make_bundle}
