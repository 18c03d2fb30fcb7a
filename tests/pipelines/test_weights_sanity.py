"""Weights that fit and are wrong: the faults are planted, and the right settings must pass."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from PIL import Image
from scipy.stats import binomtest, norm

from pipelines.backbones import select_backbone
from pipelines.config import ShippedBackbone, TimmBackbone
from pipelines.core.bundle import canonical_json, file_sha256
from pipelines.core.errors import IntegrityError
from pipelines.core.preprocess import ImagePreprocess
from pipelines.dataset import Sample
from pipelines.feature_geometry import minds_flips, nearness, share_a_label, standard_errors
from pipelines.layer_statistics import layer_fits
from pipelines.selected_backbone import SelectedBackbone
from pipelines.training.inputs import SampleInputs
from pipelines.weights_findings import WeightsSanity
from pipelines.weights_sanity import MAX_IMAGES, check_weights

LABELS = ("stripes", "spots")
SIDE_PX = 48


def picture(seed: int) -> Image.Image:
    """Stripes or spots in warm colours: red above green above blue, so that the order of the colours shows."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:SIDE_PX, 0:SIDE_PX] / SIDE_PX
    wave = np.sin(2 * np.pi * (x * rng.uniform(2, 4) + rng.uniform()))
    shape = wave if seed % 2 == 0 else wave * np.sin(2 * np.pi * (y * rng.uniform(2, 4) + rng.uniform()))
    grey = 0.45 + 0.2 * shape + rng.normal(0, 0.04, shape.shape)
    return Image.fromarray((np.clip(grey[..., None] * np.array([1.4, 1.0, 0.5]), 0, 1) * 255).astype(np.uint8))


def make_inputs(folder: Path, preprocess: ImagePreprocess, n: int = 80) -> SampleInputs:
    folder.mkdir(exist_ok=True)
    samples = []
    for seed in range(n):
        buffer = io.BytesIO()
        picture(seed).save(buffer, "PNG")
        (folder / f"{seed}.png").write_bytes(buffer.getvalue())
        digest = hashlib.sha256(buffer.getvalue()).hexdigest()
        samples.append(Sample(digest, f"{seed}.png", LABELS[seed % 2], digest, "default", "", "train"))
    return SampleInputs(sorted(samples, key=lambda sample: sample.id), folder, preprocess, LABELS)


def preprocessing(mean: tuple[float, ...] = (0.5,) * 3, std: tuple[float, ...] = (0.5,) * 3) -> ImagePreprocess:
    return ImagePreprocess(color="RGB", height_px=SIDE_PX, width_px=SIDE_PX, mean=mean, std=std)


def pretrained(folder: Path, name: str = "test_efficientnet", pad_type: str = "same") -> Path:
    """A network that was trained on such pictures, mirrored or not, with mean and std 0.5: seconds are enough to see the label."""
    torch.manual_seed(0)
    arguments = {"pad_type": pad_type} if name == "test_efficientnet" else {}
    network = timm.create_model(name, num_classes=2, **arguments)
    inputs = make_inputs(folder / "pretraining", preprocessing(), 160)
    images, targets = torch.from_numpy(inputs.batch(range(len(inputs)))), torch.from_numpy(inputs.targets)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    generator = torch.Generator().manual_seed(0)
    network.train()
    for _ in range(40):
        chosen = torch.randint(len(images), (32,), generator=generator)
        batch = images[chosen]
        batch = batch.flip(3) if torch.rand(1, generator=generator) < 0.5 else batch
        loss = torch.nn.functional.cross_entropy(network(batch), targets[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    path = folder / "w.safetensors"
    safetensors.torch.save_file({key: value.contiguous() for key, value in network.state_dict().items()}, path)
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pretrained(tmp_path_factory.mktemp("pretrained"))


def check(weights: Path, folder: Path, preprocess: ImagePreprocess, n: int = 80, **changes: object) -> WeightsSanity:
    values = {"kind": "timm", "name": "test_efficientnet", "weights": weights, "sha256": file_sha256(weights), "preprocess": preprocess}
    config = TimmBackbone.model_validate(values | {"model_args": {"pad_type": "same"}} | changes)
    return check_weights(config, select_backbone(config), make_inputs(folder / "images", preprocess, n))


def kinds(result: WeightsSanity) -> set[str]:
    return {finding.check for finding in result.findings}


def test_right_settings_pass_and_are_recorded(weights: Path, tmp_path: Path) -> None:
    result = check(weights, tmp_path, preprocessing())
    assert not kinds(result) & {"normalisation", "channel order", "layers", "knowledge"}
    assert result.n_images == MAX_IMAGES
    compared = {row.check for row in result.comparisons}
    assert compared == {"normalisation", "channel order", "padding", "knowledge"}
    assert canonical_json(result.record()) == canonical_json(check(weights, tmp_path, preprocessing()).record())


@pytest.mark.parametrize(
    ("mean", "std"),
    [((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)), ((0.0,) * 3, (1.0,) * 3), ((0.0,) * 3, (1 / 255,) * 3)],
    ids=["imagenet", "unit", "bytes"],
)
def test_a_wrong_mean_and_std(weights: Path, tmp_path: Path, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    findings = check(weights, tmp_path, preprocessing(mean, std)).findings
    found = [finding for finding in findings if finding.check == "normalisation"]
    assert "better with mean and std 0.5" in found[0].got
    assert "compare mean and std of backbone.preprocess" in found[0].next_step


def changed(weights: Path, folder: Path, key: str, change: Any) -> Path:
    state = safetensors.torch.load_file(weights)
    path = folder / "changed.safetensors"
    safetensors.torch.save_file({**state, key: change(state[key]).contiguous()}, path)
    return path


def test_exchanged_colours(weights: Path, tmp_path: Path) -> None:
    exchanged = changed(weights, tmp_path, "conv_stem.weight", lambda filters: filters.flip(1))
    found = {finding.check: finding for finding in check(exchanged, tmp_path, preprocessing()).findings}
    assert "red and blue exchanged" in found["channel order"].got


def test_a_damaged_layer_is_named(weights: Path, tmp_path: Path) -> None:
    key = next(name for name in safetensors.torch.load_file(weights) if name.startswith("blocks.1.") and name.endswith("conv_pwl.weight"))
    damaged = changed(weights, tmp_path, key, lambda filters: filters * 30)
    found = {finding.check: finding for finding in check(damaged, tmp_path, preprocessing()).findings}
    assert "far from the statistics that they stored, the first blocks.1." in found["layers"].got


@pytest.mark.parametrize("layer", ["bn1", "blocks.1.0.bn1"])
def test_a_layer_that_stored_no_variance_is_named(weights: Path, tmp_path: Path, layer: str) -> None:
    damaged = changed(weights, tmp_path, f"{layer}.running_var", lambda values: values * 0)
    result = check(damaged, tmp_path, preprocessing())
    assert f"the first {layer}" in {finding.check: finding for finding in result.findings}["layers"].got
    canonical_json(result.record())  # refuses what JSON has no number for


def test_untrained_weights_know_nothing(weights: Path, tmp_path: Path) -> None:
    torch.manual_seed(3)
    untrained = tmp_path / "untrained.safetensors"
    state = timm.create_model("test_efficientnet", num_classes=2, pad_type="same").state_dict()
    safetensors.torch.save_file({key: value.contiguous() for key, value in state.items()}, untrained)
    assert "knowledge" in kinds(check(untrained, tmp_path, preprocessing()))


def test_features_that_are_not_finite_are_refused(weights: Path, tmp_path: Path) -> None:
    values = {"kind": "timm", "name": "test_efficientnet", "weights": weights, "sha256": file_sha256(weights)}
    config = TimmBackbone.model_validate(values | {"preprocess": preprocessing(), "model_args": {"pad_type": "same"}})
    selected = select_backbone(config)
    inputs = make_inputs(tmp_path / "images", preprocessing(std=(1e-38,) * 3))
    with pytest.raises(IntegrityError, match=r"features that are not finite for \d+ of 64 training images, for example \d+\.png"):
        check_weights(config, selected, inputs)


def test_too_few_images_and_shipped_backbones_are_not_asked(weights: Path, tmp_path: Path) -> None:
    assert check(weights, tmp_path, preprocessing(), n=12) == WeightsSanity(0, (), ())
    shipped = ShippedBackbone(kind="shipped")
    selected: SelectedBackbone = select_backbone(shipped)
    assert check_weights(shipped, selected, make_inputs(tmp_path / "images", preprocessing())) == WeightsSanity(0, (), ())


def test_a_network_without_batch_norm_is_asked_by_labels(tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = tmp_path / "w.safetensors"
    state = timm.create_model("test_convnext", num_classes=0).state_dict()
    safetensors.torch.save_file({key: value.contiguous() for key, value in state.items()}, path)
    result = check(path, tmp_path, preprocessing(), name="test_convnext", model_args={})
    assert {row.check for row in result.comparisons} == {"preprocessing", "knowledge"}
    assert not kinds(result) & {"padding", "layers"}


def test_layer_fits_against_numpy() -> None:
    torch.manual_seed(0)
    layer = torch.nn.BatchNorm2d(3)
    network = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), layer, torch.nn.ReLU(), torch.nn.BatchNorm2d(3)).eval()
    layer.running_mean[:] = torch.tensor([0.1, -0.2, 0.3])
    layer.running_var[:] = torch.tensor([0.5, 2.0, 1.5])
    images = torch.rand(21, 2, 9, 9)
    given = network[0](images).detach().double().numpy()
    mean, variance = given.mean((0, 2, 3)), given.var((0, 2, 3))
    stored_mean, stored = layer.running_mean.double().numpy(), layer.running_var.double().numpy()
    x = np.linspace(-60, 60, 400_001)
    expected = []
    for channel in range(3):
        p, q = norm(mean[channel], variance[channel] ** 0.5), norm(stored_mean[channel], stored[channel] ** 0.5)
        expected.append(np.trapezoid(p.pdf(x) * (np.maximum(p.logpdf(x), -700) - q.logpdf(x)), x))
    fits = layer_fits(network, images)
    assert [fit.name for fit in fits] == ["1", "3"]
    np.testing.assert_allclose((fits[0].misfit, fits[0].mean_misfit), (np.median(expected), np.mean(expected)), rtol=1e-5)
    assert layer_fits(network, images, 1) == fits[:1]
    assert layer_fits(torch.nn.Conv2d(2, 3, 3), images) == []
    assert not network[0]._forward_pre_hooks
    assert not layer._forward_pre_hooks


def test_nearness_against_a_slow_loop() -> None:
    rng = np.random.default_rng(0)
    features, targets = rng.normal(size=(9, 4)), np.array([0, 0, 1, 1, 1, 2, 2, 2, 3])
    z = (features - features.mean(0)) / features.std(0)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    expected = []
    for i in range(8):  # the ninth has no other of its label
        own = [z[i] @ z[j] for j in range(9) if j != i and targets[j] == targets[i]]
        expected.append(np.mean(own) - np.mean([z[i] @ z[j] for j in range(9) if targets[j] != targets[i]]))
    np.testing.assert_allclose(nearness(features, share_a_label(targets)), expected)
    sets = np.eye(4, dtype=np.float32)[targets]
    np.testing.assert_array_equal(share_a_label(sets), share_a_label(targets))


def test_mirror_images_and_standard_errors() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(40, 6))
    np.testing.assert_allclose(minds_flips(features, features), 0, atol=1e-12)
    assert minds_flips(features, rng.normal(size=(40, 6))).mean() > 0.7
    draws = np.array([standard_errors(rng.normal(size=64)) for _ in range(2_000)])
    assert abs(draws.mean()) < 0.1
    assert abs(draws.std() - 1) < 0.1
    assert standard_errors(np.zeros(64)) == 0
    assert standard_errors(np.ones(3)) == 0


# Real weights.

CHECKPOINTS = {
    "mobilenetv1_025.tfhub_float_in1k": "mobilenetv1_025",
    "mobilenetv1_075.coral_qat_in1k": "mobilenetv1_075",
    "mobilenetv1_100.coral_qat_in1k": "mobilenetv1_100",
    "mobilenetv2_100.coral_qat_in1k": "mobilenetv2_100",
    "mobilenetv2_100.keras_ptq_in1k": "mobilenetv2_100",
}
FAULTS: dict[str, str | None] = {"none": None, "padding": "padding", "imagenet": "normalisation", "colours": "channel order"}


def drawn(shared: Path, dataset: str, seed: int, preprocess: ImagePreprocess) -> SampleInputs:
    files = sorted((shared / "data" / dataset).rglob("*.jpg"))
    samples = []
    for index in np.random.default_rng(seed).choice(len(files), MAX_IMAGES, replace=False):
        digest = hashlib.sha256(files[index].read_bytes()).hexdigest()
        path = files[index].relative_to(shared / "data" / dataset).as_posix()
        samples.append(Sample(digest, path, files[index].parent.name, digest, "default", "", "train"))
    labels = sorted({sample.label for sample in samples})
    return SampleInputs(sorted(samples, key=lambda sample: sample.id), shared / "data" / dataset, preprocess, labels)


def check_fault(shared: Path, folder: Path, stem: str, fault: str, dataset: str, seed: int) -> WeightsSanity:
    weights = shared / "weights" / f"{stem}.safetensors"
    values: dict[str, Any] = {"kind": "timm", "name": CHECKPOINTS[stem], "weights": weights, "sha256": file_sha256(weights)}
    if fault == "padding":
        values["model_args"] = {"pad_type": ""}
    if fault == "colours":
        exchanged = changed(weights, folder, "conv_stem.weight", lambda filters: filters.flip(1))
        exchanged.with_suffix(".json").write_bytes(weights.with_suffix(".json").read_bytes())
        values |= {"weights": exchanged, "sha256": file_sha256(exchanged)}
    config = TimmBackbone.model_validate(values)
    selected = select_backbone(config)
    if fault == "imagenet":
        wrong = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
        selected = selected.model_copy(update={"preprocess": selected.preprocess.model_copy(update=wrong)})
    return check_weights(config, selected, drawn(shared, dataset, seed, selected.preprocess))


@pytest.mark.slow
@pytest.mark.shared("how often planted faults in a real checkpoint are found on photographs, and how often right settings are suspected")
def test_real_faults_are_found(shared_dir: Path, tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """The fastest checkpoint: the bounds say what so few draws can say, and 100 % is expected of each."""
    for fault, n_draws in {"none": 6, "padding": 3, "imagenet": 3, "colours": 3}.items():
        expected = {FAULTS[fault]} - {None}
        draws = [(("flowers", "hymenoptera")[number % 2], number) for number in range(n_draws)]
        results = {draw: check_fault(shared_dir, tmp_path, "mobilenetv1_025.tfhub_float_in1k", fault, *draw) for draw in draws}
        wrong = {draw: result.findings for draw, result in results.items() if kinds(result) != expected}
        interval = binomtest(n_draws - len(wrong), n_draws).proportion_ci(0.95, method="exact")
        record_property(f"{fault}: share judged rightly", f"{n_draws - len(wrong)}/{n_draws}, 95 % interval {interval.low:.2f} to 1")
        assert not wrong, fault


@pytest.mark.slow
@pytest.mark.shared("that the padding of another real checkpoint is found, which neither a strict load nor its batch norm shows")
def test_the_padding_of_mobilenetv2(shared_dir: Path, tmp_path: Path) -> None:
    result = check_fault(shared_dir, tmp_path, "mobilenetv2_100.coral_qat_in1k", "padding", "flowers", 0)
    assert [(finding.check, "pad_type: 'same'" in finding.next_step) for finding in result.findings] == [("padding", True)]
