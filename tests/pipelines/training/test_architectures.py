"""Every family of timm's classifiers: built from a file, features of the real width, trained for a step by every method, and shipped.

The weights are untrained: what is tested is that each architecture goes through, not what it knows.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from PIL import Image
from pydantic import TypeAdapter

from pipelines.backbone_features import feature_width
from pipelines.backbones import load_backbone, select_backbone
from pipelines.config import Method, ProjectConfig
from pipelines.core.backbones import build_backbone
from pipelines.core.bundle import BundleManifest, file_sha256
from pipelines.core.errors import ConfigurationError
from pipelines.core.predict import Predictor
from pipelines.dataset import Sample, write_samples
from pipelines.progress import silent
from pipelines.selected_backbone import SelectedBackbone
from pipelines.training.material import Material
from pipelines.training.network_tensors import apart, network_tensors
from pipelines.training.train import METHODS, KeptFolders, gather

LABELS = ("dark", "light")
SIDE_PX = 32
RECIPE = {"epochs": 1, "batch_size": 4, "augment": {"policy": "none"}, "early_stopping_epochs": None}
SECTIONS: dict[str, dict[str, Any]] = {
    "probe": {"strengths": [1.0], "folds": 2},
    "prototype": {},
    "fine_tune": RECIPE,
    "lp_ft": {**RECIPE, "n_upper_blocks": 1, "probe": {"strengths": [1.0], "folds": 2}},
    "gradual": RECIPE,
    "scratch": RECIPE,
    "auto": {
        "budget_minutes": 10,
        "probe": {"strengths": [1.0], "folds": 2},
        "fine_tune": {"kind": "lp_ft", **RECIPE, "probe": {"strengths": [1.0], "folds": 2}},
    },
}
TINY = ("test_resnet", "test_vit", "test_convnext", "test_efficientnet")
# Name, side, arguments of timm's constructor, width of the features. The smallest of each family; where even that is large, narrowed.
FAMILIES: list[tuple[str, int, dict[str, Any], int]] = [
    ("vgg11", 64, {"mlp_ratio": 1 / 16}, 4096),  # num_features says 512
    ("resnet10t", 64, {}, 512),
    ("inception_v3", 80, {}, 2048),
    ("efficientnet_b0", 64, {}, 1280),
    ("mobilenetv1_025", 64, {"pad_type": "same"}, 256),
    ("mobilenetv3_small_050", 64, {}, 1024),  # num_features says 288
    ("convnext_atto", 64, {}, 320),
    ("vit_tiny_patch16_224", 64, {"img_size": 64}, 192),
    ("deit_tiny_distilled_patch16_224", 64, {"img_size": 64}, 192),  # two classifiers
    ("swin_tiny_patch4_window7_224", 64, {"img_size": 64, "embed_dim": 24}, 192),
    ("regnetx_002", 64, {}, 368),
    ("levit_128s", 224, {}, 384),  # batch norm stands in the classifier
    ("coat_lite_tiny", 64, {"img_size": 64}, 320),  # one module in several places
    ("test_mambaout", 64, {}, 256),  # num_features says 64
]


def make_data(root: Path, n_train: int = 8, color: str = "RGB") -> Path:
    """`data/` with dark and light noise, and `samples.csv` beside it."""
    (root / "data").mkdir(parents=True)
    rng = np.random.default_rng(0)
    samples = []
    for number in range(n_train + 4):
        label = LABELS[number % 2]
        pixels = rng.integers(0, 120, (40, 40, 3), dtype=np.uint8) + np.uint8(120 * (number % 2))
        buffer = io.BytesIO()
        Image.fromarray(pixels).convert(color).save(buffer, "PNG")
        path = f"{number}.png"
        (root / "data" / path).write_bytes(buffer.getvalue())
        digest = hashlib.sha256(buffer.getvalue()).hexdigest()
        samples.append(Sample(digest, path, label, digest, "default", "", "train" if number < n_train else "validation"))
    write_samples(samples, root / "samples.csv")
    return root


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("noise") / "made")


def save_untrained(path: Path, name: str, arguments: dict[str, Any], n_classes: int) -> Path:
    """An untrained network as timm publishes them, for three channels."""
    torch.manual_seed(0)
    if name == "mobilenetv1_025":
        network = timm.models.efficientnet._gen_mobilenet_v1("mobilenetv1_100", 0.25, num_classes=n_classes, **arguments)
    else:
        network = timm.create_model(name, num_classes=n_classes, **arguments)
    safetensors.torch.save_file(apart(network.state_dict()), path)
    return path


def project(weights: Path, name: str, arguments: dict[str, Any], side_px: int, channels: int, method: str = "probe") -> ProjectConfig:
    half = [0.5] * channels
    size = {"height_px": side_px, "width_px": side_px}
    return ProjectConfig.model_validate(
        {
            "project": "families",
            "task": "image",
            "labels": LABELS,
            "backbone": {
                "kind": "timm",
                "name": name,
                "weights": str(weights),
                "sha256": file_sha256(weights),
                "in_channels": channels,
                "model_args": arguments,
                "preprocess": {"color": "RGB" if channels == 3 else "L", **size, "mean": half, "std": half},
            },
            "method": {"kind": method, **SECTIONS[method]},
            "gates": [{"kind": "min_metric", "floor": 0.5}],
        }
    )


def material(config: ProjectConfig, noise: Path, folder: Path) -> Material:
    from pipelines.selected_backbone import write_selected

    folder.mkdir(exist_ok=True)
    write_selected(select_backbone(config.backbone), folder / "backbone.json")  # type: ignore[arg-type]
    kept = KeptFolders(folder / "features", folder / "checkpoints")
    return gather(noise / "samples.csv", noise / "data", folder / "backbone.json", config, kept, silent)


def train(config: ProjectConfig, noise: Path, folder: Path) -> tuple[Material, torch.nn.Sequential]:
    given = material(config, noise, folder)
    trained = METHODS[config.method.kind](given, config.method)
    if "curve" in trained.record:
        # The start, and the epoch that was trained; the better of them was kept.
        losses = [row["train_loss"] for row in trained.record["curve"]]  # type: ignore[index, union-attr, call-overload]
        assert losses[0] is None
        assert np.isfinite(losses[1])
    return given, trained.network


def predictor(given: Material, network: torch.nn.Sequential) -> Predictor:
    """What ships: the architecture built again from its spec, the trained tensors loaded strictly."""
    manifest = BundleManifest(
        project="families",
        task="image",
        labels=LABELS,
        backbone=given.selected.spec,
        preprocess=given.selected.preprocess,
        temperature=1.0,
        files={},
    )
    projection = np.zeros((network[1].in_features, 1), np.float32)
    return Predictor(manifest, "0" * 64, network_tensors(network), projection, given.selected.modality)


def assert_it_answers_alike(given: Material, network: torch.nn.Sequential) -> None:
    raw = [(given.validation.data / sample.path).read_bytes() for sample in given.validation.samples]
    with torch.inference_mode():
        logits = network.eval()(torch.from_numpy(given.validation.batch(range(len(raw)))))
    answers = predictor(given, network).predict(raw).probabilities
    np.testing.assert_allclose(answers, torch.softmax(logits.double(), 1).numpy(), atol=1e-5)


def test_every_method_has_a_section_here() -> None:
    kinds = {get_args(member.model_fields["kind"].annotation)[0] for member in get_args(get_args(Method)[0])}
    # lora needs linear layers, adapt unlabelled samples and setfit texts: test_lora, adaptation/ and test_setfit have them.
    assert set(METHODS) == {*SECTIONS, "lora", "adapt", "setfit"} == kinds
    for kind, section in SECTIONS.items():
        TypeAdapter(Method).validate_python({"kind": kind, **section})


@pytest.mark.parametrize("method", sorted(SECTIONS))
def test_every_method_trains_and_ships(method: str, noise: Path, tmp_path: Path) -> None:
    weights = save_untrained(tmp_path / "w.safetensors", "test_resnet", {}, 10)
    given, network = train(project(weights, "test_resnet", {}, SIDE_PX, 3, method), noise, tmp_path / "run")
    assert network[1].weight.shape == (2, 96)
    assert_it_answers_alike(given, network)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", TINY)
def test_tiny_architectures_are_fine_tuned(name: str, channels: int, noise: Path, tmp_path: Path) -> None:
    arguments = {"img_size": SIDE_PX} if name == "test_vit" else {}
    weights = save_untrained(tmp_path / "w.safetensors", name, arguments, 10)
    given, network = train(project(weights, name, arguments, SIDE_PX, channels, "fine_tune"), noise, tmp_path / "run")
    assert_it_answers_alike(given, network)


@pytest.mark.slow
@pytest.mark.usefixtures("pleased")
@pytest.mark.parametrize(("name", "side_px", "arguments", "width"), FAMILIES, ids=[family[0] for family in FAMILIES])
def test_families_are_trained_and_ship(name: str, side_px: int, arguments: dict[str, Any], width: int, noise: Path, tmp_path: Path) -> None:
    channels = 1 if name in ("vgg11", "swin_tiny_patch4_window7_224", "regnetx_002") else 3
    weights = save_untrained(tmp_path / "w.safetensors", name, arguments, 7)
    config = project(weights, name, arguments, side_px, channels, "lp_ft")
    every_block = config.method.model_copy(update={"n_upper_blocks": None})
    given, network = train(config.model_copy(update={"method": every_block}), noise, tmp_path / "run")
    assert network[1].weight.shape == (2, width)
    assert all(bool(tensor.isfinite().all()) for tensor in network.state_dict().values())
    start = given.fresh_backbone(0.0).state_dict()
    still = [key for key, tensor in network[0].named_parameters() if torch.equal(tensor, start[key])]
    # Behind a scale that begins at 0 (LeViT's residual branches) there is no gradient in the first steps.
    assert len(still) < 0.1 * len(start), still
    assert_it_answers_alike(given, network)
    weights.unlink()


def selected_from(weights: Path, name: str, arguments: dict[str, Any], side_px: int, channels: int) -> tuple[Any, SelectedBackbone]:
    entry: Any = project(weights, name, arguments, side_px, channels).backbone
    return entry, select_backbone(entry)


SMALL_FILES = [("test_resnet", {}), ("test_vit", {"img_size": 32}), ("test_convnext", {}), ("test_efficientnet", {}), ("test_mambaout", {})]


@pytest.mark.parametrize("n_classes", [0, 7])
@pytest.mark.parametrize(("name", "arguments"), SMALL_FILES, ids=[name for name, _ in SMALL_FILES])
def test_files_with_and_without_a_classifier_give_the_same_backbone(
    name: str, arguments: dict[str, Any], n_classes: int, tmp_path: Path
) -> None:
    weights = save_untrained(tmp_path / "w.safetensors", name, arguments, n_classes)
    entry, selected = selected_from(weights, name, arguments, SIDE_PX, 3)
    stored = safetensors.torch.load_file(weights)
    state = load_backbone(entry, selected).state_dict()
    assert all(torch.equal(value, stored[key]) for key, value in state.items())
    assert (
        feature_width(load_backbone(entry, selected), selected.spec, selected.preprocess)
        == {
            "test_resnet": 96,
            "test_vit": 64,
            "test_convnext": 64,
            "test_efficientnet": 256,
            "test_mambaout": 256,
        }[name]
    )


# Classifiers of several parts, and parts that stand before the last layer only where there is a classifier.
@pytest.mark.parametrize(
    "name",
    ["levit_128s", *(pytest.param(n, marks=pytest.mark.slow) for n in ("deit_tiny_distilled_patch16_224", "repvit_m0_9", "shvit_s1"))],
)
def test_classifiers_of_several_parts_are_left_out(name: str) -> None:
    from pipelines.backbone_weights import adapted_state
    from pipelines.core.backbones import BackboneSpec

    spec = BackboneSpec(name=name, in_channels=3, origin="test", weights_sha256=None)
    with torch.device("meta"):
        full, headless = timm.create_model(name).state_dict(), build_backbone(spec)
    assert full.keys() > headless.state_dict().keys()
    assert adapted_state(full, headless, spec).keys() == headless.state_dict().keys()
    assert adapted_state(headless.state_dict(), headless, spec).keys() == headless.state_dict().keys()


@pytest.mark.slow
def test_torchvisions_second_classifier_of_inception_is_left_out() -> None:
    from pipelines.backbone_weights import adapted_state
    from pipelines.core.backbones import BackboneSpec

    spec = BackboneSpec(name="inception_v3", in_channels=3, origin="test", weights_sha256=None)
    with torch.device("meta"):
        full, headless = timm.create_model("inception_v3", aux_logits=True).state_dict(), build_backbone(spec)
    assert any(key.startswith("AuxLogits.") for key in full)
    assert adapted_state(full, headless, spec).keys() == headless.state_dict().keys()


@pytest.mark.parametrize(
    "name",
    [
        "resnet10t",
        "convnext_atto",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("inception_v3", "vgg11", "densenet121", "repvgg_a0")),
    ],
)
def test_first_layers_of_every_name_take_one_channel(name: str) -> None:
    from pipelines.backbone_weights import adapted_state
    from pipelines.core.backbones import BackboneSpec

    spec = BackboneSpec(name=name, in_channels=1, origin="test", weights_sha256=None)
    with torch.device("meta"):
        full, grey = timm.create_model(name).state_dict(), build_backbone(spec)
    shapes = {key: value.shape for key, value in adapted_state(full, grey, spec).items()}
    assert shapes == {key: value.shape for key, value in grey.state_dict().items()}


def test_positions_of_another_image_size_are_resampled_as_timm_does(tmp_path: Path) -> None:
    from timm.models.vision_transformer import checkpoint_filter_fn

    weights = save_untrained(tmp_path / "w.safetensors", "test_vit", {}, 7)  # for 160 px
    entry, selected = selected_from(weights, "test_vit", {"img_size": 64}, 64, 3)
    state = load_backbone(entry, selected).state_dict()
    own = timm.create_model("test_vit", img_size=64, num_classes=0)
    expected = checkpoint_filter_fn(safetensors.torch.load_file(weights), own)["pos_embed"]
    torch.testing.assert_close(state["pos_embed"], expected)
    assert state["pos_embed"].shape != safetensors.torch.load_file(weights)["pos_embed"].shape


def test_the_image_size_given_to_the_architecture_is_that_of_the_preprocessing(tmp_path: Path) -> None:
    weights = save_untrained(tmp_path / "w.safetensors", "test_vit", {"img_size": 64}, 7)
    entry: Any = project(weights, "test_vit", {"img_size": 64}, 64, 3).backbone
    assert select_backbone(entry.model_copy(update={"preprocess": None})).preprocess.height_px == 64


def test_drop_path_is_of_training_alone(tmp_path: Path) -> None:
    weights = save_untrained(tmp_path / "w.safetensors", "test_convnext", {}, 7)
    entry, selected = selected_from(weights, "test_convnext", {}, SIDE_PX, 3)
    plain, dropping = load_backbone(entry, selected), load_backbone(entry, selected, drop_path=0.5)
    assert list(plain.state_dict()) == list(dropping.state_dict())
    batch = torch.rand(4, 3, SIDE_PX, SIDE_PX, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(plain.eval()(batch), dropping.eval()(batch), rtol=0, atol=0)
        torch.manual_seed(0)
        assert not torch.allclose(dropping.train()(batch), dropping.train()(batch))
        torch.testing.assert_close(plain.train()(batch), plain.train()(batch), rtol=0, atol=0)
    assert "drop_path_rate" not in selected.spec.model_args


def test_an_architecture_without_drop_path_says_so(tmp_path: Path) -> None:
    weights = save_untrained(tmp_path / "w.safetensors", "densenet121", {"growth_rate": 4}, 0)
    entry, selected = selected_from(weights, "densenet121", {"growth_rate": 4}, SIDE_PX, 3)
    with pytest.raises(ConfigurationError, match=r"method\.drop_path 0\.1 for densenet121"):
        load_backbone(entry, selected, drop_path=0.1)
