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
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipelines.core.bundle import BundleManifest, seal
from pipelines.core.preprocess import ImagePreprocess
from tests.serving.routes import wait_until

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
    from pipelines.core.backbones import BackboneSpec

    spec = BackboneSpec(name="test_resnet", in_channels=3, origin="untrained", weights_sha256=None)
    preprocess = ImagePreprocess(color="RGB", height_px=32, width_px=32, fit=fit, mean=(0.5,) * 3, std=(0.5,) * 3, max_pixels=4_000_000)
    manifest = _manifest("image", spec, preprocess, labels, thresholds)
    return _sealed(folder, manifest, [png(1000 + index) for index in range(n_goldens)], seed)


WORDS = (
    *("a", "and", "bad", "boring", "charger", "cheap", "dull", "fast", "fine", "good", "great", "it", "loud"),
    *("noise", "plot", "read", "screen", "slow", "sound", "story", "the", "this", "weak"),
)


def make_text_bundle(folder: Path, seed: int = 0, labels: tuple[str, ...] = ("bad", "good")) -> str:
    """Seals a bundle of a tiny untrained BERT with a tokeniser of a few words; returns its id."""
    from pipelines.core.modalities.text import TOKENIZER_FILE, TextPreprocess
    from pipelines.core.text_backbone import TransformersSpec

    tokenizer = json.dumps(word_tokenizer()).encode()
    (folder / TOKENIZER_FILE).parent.mkdir(parents=True, exist_ok=True)
    (folder / TOKENIZER_FILE).write_bytes(tokenizer)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "max_position_embeddings": 64}
    config = {"vocab_size": 4 + len(WORDS), "initializer_range": 0.6, **sizes}
    spec = TransformersSpec(name="bert", config=config, pooling="mean", origin="untrained", weights_sha256=None)
    preprocess = TextPreprocess(tokenizer_sha256=hashlib.sha256(tokenizer).hexdigest(), max_tokens=32, max_characters=150_000)
    manifest = _manifest("text", spec, preprocess, labels, None)
    return _sealed(folder, manifest, [text.encode() for text in ("this story is great", "Noise! a weak, cheap charger", "dull")], seed)


def make_audio_bundle(folder: Path, seed: int = 0, labels: tuple[str, ...] = ("no", "yes")) -> str:
    """Seals a bundle of an untrained network over patches of sounds; returns its id."""
    from pipelines.core.backbones import BackboneSpec
    from pipelines.core.modalities.audio import AudioPreprocess

    spec = BackboneSpec(name="test_resnet", in_channels=1, pools_patches=True, origin="untrained", weights_sha256=None)
    preprocess = AudioPreprocess(patch_frames=32, patch_hop_frames=32, max_patches=4, max_seconds=20.0)
    return _sealed(folder, _manifest("audio", spec, preprocess, labels, None), [wav(0.5, 300), wav(1.2, 3_000, 8_000)], seed)


def wav(seconds: float, hz: float = 440, rate_hz: int = 16_000, kind: str = "WAV") -> bytes:
    import soundfile

    buffer = io.BytesIO()
    samples = 0.3 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate_hz)) / rate_hz)
    soundfile.write(buffer, samples, rate_hz, format=kind)
    return buffer.getvalue()


def word_tokenizer() -> dict[str, object]:
    """In the format of the library tokenizers: lower case, words and signs apart, [CLS] before and [SEP] behind."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    vocabulary = {word: place for place, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    content: dict[str, object] = json.loads(tokenizer.to_str())
    return content


def _manifest(task: str, spec: Any, preprocess: Any, labels: tuple[str, ...], thresholds: tuple[float, ...] | None) -> BundleManifest:
    return BundleManifest(
        project="test-animals",
        task=task,
        labels=labels,
        labels_per_sample="one" if thresholds is None else "many",
        thresholds=thresholds,
        backbone=spec,
        preprocess=preprocess,
        temperature=1.0,
        files={},
    )


def _sealed(folder: Path, manifest: BundleManifest, goldens: list[bytes], seed: int) -> str:
    """Writes the files of a bundle around an untrained network."""
    import safetensors.numpy
    import safetensors.torch
    import torch

    from pipelines.core.backbones import build_backbone
    from pipelines.core.heads import build_head
    from pipelines.core.patch_pooling import network_of_patches
    from pipelines.core.signals import random_projection

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        backbone = build_backbone(manifest.backbone)
        network: Any = network_of_patches(backbone)
        n_features = getattr(network, "num_features", None) or network.model.config.hidden_size
        head = build_head(n_features, len(manifest.labels))
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"backbone.{name}": value for name, value in backbone.state_dict().items()}
    tensors |= {f"head.{name}": value * 4 for name, value in head.state_dict().items()}
    safetensors.torch.save_file(tensors, folder / "weights.safetensors")
    projection = random_projection(n_features, 4, seed)
    safetensors.numpy.save_file({"projection": projection}, folder / "projection.safetensors")
    safetensors.numpy.save_file({"embeddings": np.zeros((1, 4), np.float32)}, folder / "reference.safetensors")
    (folder / "lineage.json").write_text(json.dumps({"seed": seed}))
    (folder / "card.md").write_text("An untrained network for tests.\n")
    _write_goldens(folder, manifest, goldens)
    return seal(folder, manifest)


def _write_goldens(folder: Path, manifest: BundleManifest, inputs: list[bytes]) -> None:
    from pipelines.core.predict import Predictor

    (folder / "goldens").mkdir()
    (folder / "goldens.json").write_text("[]")
    seal(folder, manifest)
    answers = Predictor.load(folder, verify=False).predict(inputs)
    goldens = []
    for data, label, row in zip(inputs, answers.labels, answers.probabilities.tolist(), strict=True):
        name = f"{hashlib.sha256(data).hexdigest()[:16]}.bin"
        (folder / "goldens" / name).write_bytes(data)
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
def text_bundle(tmp_path_factory: pytest.TempPathFactory) -> TestBundle:
    """Takes texts; answers good or bad."""
    folder = tmp_path_factory.mktemp("bundles") / "text"
    return TestBundle(make_text_bundle(folder), folder)


@pytest.fixture(scope="session")
def audio_bundle(tmp_path_factory: pytest.TempPathFactory) -> TestBundle:
    """Takes sounds; answers no or yes."""
    folder = tmp_path_factory.mktemp("bundles") / "audio"
    return TestBundle(make_audio_bundle(folder), folder)


@pytest.fixture(scope="session")
def built_text(text_bundle: TestBundle, tmp_path_factory: pytest.TempPathFactory) -> object:
    """A Bento with `text_bundle` inside."""
    from serving.build import build_bento

    return build_bento(text_bundle.path, "test-reviews", tmp_path_factory.mktemp("bentoml-text"))


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


@pytest.fixture
def small_images() -> list[bytes]:
    return [png(seed) for seed in range(3)]


@pytest.fixture
def helpers() -> dict[str, Callable[..., object]]:
    """The functions of this file, which test files cannot import."""
    return {
        "png": png,
        "encoded": encoded,
        "wait_until": wait_until,
        "make_bundle": make_bundle,
        "make_text_bundle": make_text_bundle,
        "wav": wav,
    }
