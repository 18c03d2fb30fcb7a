"""The list of bad input, through what a user calls: each a clear error, or a behaviour that is said here."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from PIL import Image

from pipelines.backbones import load_backbone, select_backbone
from pipelines.config import ProjectConfig, TimmBackbone
from pipelines.core.bundle import file_sha256
from pipelines.core.errors import ConfigurationError, DataError, IntegrityError
from pipelines.core.preprocess import ImagePreprocess, decode_image, image_to_array, preprocess
from pipelines.dataset import Sample, write_samples
from pipelines.image_files import ImageFile, inspect_bytes, sides_px
from pipelines.input_files import Unusable
from pipelines.selected_backbone import write_selected
from pipelines.training.train import METHODS, KeptFolders, train

NAME = "test_resnet"
LABELS = ("a", "b", "c")
RGB = ImagePreprocess(color="RGB", height_px=32, width_px=32, fit="crop", crop_frac=0.875, mean=(0.5,) * 3, std=(0.5,) * 3)
GREY = ImagePreprocess(color="L", height_px=32, width_px=32, mean=(0.5,), std=(0.5,))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    state = timm.create_model(NAME, num_classes=10).state_dict()
    safetensors.torch.save_file({key: value.contiguous() for key, value in state.items()}, path)
    return path


def entry(weights: Path, **changes: object) -> TimmBackbone:
    values = {"kind": "timm", "name": NAME, "weights": weights, "sha256": file_sha256(weights), "preprocess": RGB.model_dump()}
    return TimmBackbone.model_validate(values | changes)


# Backbones.


def test_an_unknown_backbone_lists_the_nearest(weights: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"'mobilnetv2_100'.*the nearest are .*\bmobilenetv2_100\b.*regraft backbones list"):
        select_backbone(entry(weights, name="mobilnetv2_100"))
    with pytest.raises(ConfigurationError, match=r"'omniglot_resnt', which does not ship.*one of .*omniglot_resnet"):
        select_backbone(ProjectConfig.model_validate(project(kind="shipped", name="omniglot_resnt")).backbone)  # type: ignore[arg-type]


def project(**backbone: object) -> dict[str, Any]:
    return {
        "project": "bad-input",
        "task": "image",
        "labels": LABELS,
        "backbone": backbone,
        "method": {"kind": "probe", "strengths": [1.0], "folds": 2},
        "gates": [{"kind": "min_metric", "floor": 0.5}],
    }


def test_weights_that_do_not_fit_are_said_at_select(weights: Path) -> None:
    with pytest.raises(IntegrityError, match=r"that do not fit test_convnext: .*is missing; .*; and \d+ more.*correct backbone\.name"):
        select_backbone(entry(weights, name="test_convnext"))


def changed_copy(weights: Path, folder: Path, key: str, value: torch.Tensor) -> Path:
    state = safetensors.torch.load_file(weights)
    path = folder / "changed.safetensors"
    safetensors.torch.save_file({**state, key: value}, path)
    return path


def test_another_shape_is_named_with_both(weights: Path, tmp_path: Path) -> None:
    changed = changed_copy(weights, tmp_path, "layer1.0.conv1.weight", torch.zeros(5, 5))
    with pytest.raises(IntegrityError, match=r"layer1\.0\.conv1\.weight has shape \[5, 5\] instead of \[\d+, \d+, \d, \d\]"):
        select_backbone(entry(changed))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named(weights: Path, tmp_path: Path, value: float) -> None:
    shape = safetensors.torch.load_file(weights)["layer1.0.conv1.weight"].shape
    planted = torch.zeros(shape)
    planted.view(-1)[7] = value
    changed = changed_copy(weights, tmp_path, "layer1.0.conv1.weight", planted)
    with pytest.raises(IntegrityError, match=r"NaN or infinite values in layer1\.0\.conv1\.weight\. Allowed: finite weights"):
        select_backbone(entry(changed))


def test_finite_weights_with_features_that_overflow(weights: Path, tmp_path: Path) -> None:
    state = safetensors.torch.load_file(weights)
    changed = changed_copy(weights, tmp_path, "conv1.0.weight", torch.full_like(state["conv1.0.weight"], 3e38))
    with pytest.raises(IntegrityError, match=r"gives features that are not finite for a plain image"):
        select_backbone(entry(changed))


def test_integers_of_a_quantised_file_are_no_weights(weights: Path, tmp_path: Path) -> None:
    state = safetensors.torch.load_file(weights)
    changed = changed_copy(weights, tmp_path, "layer1.0.conv1.weight", state["layer1.0.conv1.weight"].to(torch.int8))
    with pytest.raises(IntegrityError, match=r"layer1\.0\.conv1\.weight holds torch\.int8 instead of torch\.float32"):
        select_backbone(entry(changed))


@pytest.mark.parametrize("kept", [0.0, 0.001, 0.5, 0.999])
def test_a_truncated_file_is_said_even_with_the_right_sha256(weights: Path, tmp_path: Path, kept: float) -> None:
    data = weights.read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(IntegrityError, match=r"cut\.safetensors, \d+ bytes that are no complete safetensors file.*fetch the file again"):
        select_backbone(entry(tmp_path / "cut.safetensors"))


class Bomb:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return exec, ("raise SystemExit('the pickle ran')",)


def test_a_pickle_under_another_name_is_not_run(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(IntegrityError, match=r"no complete safetensors file.*a pickle does not become one by its name"):
        select_backbone(entry(path))
    torch.save({"a": torch.zeros(1)}, path)
    with pytest.raises(IntegrityError, match="no complete safetensors file"):
        select_backbone(entry(path))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"global_pool": ""}, r"test_resnet with features of shape \[2, \d+, \d, \d\] for 2 images.*\[b, d\].*model_args"),
        ({"block": 7}, r"model_args \{'block': 7\} and 3 input channels for test_resnet: AttributeError"),
        ({"no_such_argument": True}, r"no_such_argument.*correct or remove backbone\.model_args"),
        ({"checkpoint_path": "other.pth"}, r"model_args with checkpoint_path for test_resnet.*backbone\.weights"),
        ({"pretrained": True, "num_classes": 5}, r"model_args with num_classes, pretrained"),
        ({"features_only": True}, r"model_args with features_only"),
    ],
)
def test_arguments_that_the_architecture_cannot_use(weights: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        select_backbone(entry(weights, model_args=arguments))


def test_a_size_that_the_architecture_does_not_take(tmp_path: Path) -> None:
    path = tmp_path / "vit.safetensors"
    state = timm.create_model("test_vit").state_dict()
    safetensors.torch.save_file({key: value.contiguous() for key, value in state.items()}, path)
    with pytest.raises(ConfigurationError, match=r"test_vit, which does not take images of 32 x 32 px: .*model_args: img_size"):
        select_backbone(entry(path, name="test_vit", model_args={"dynamic_img_size": False}))


def test_an_encoder_that_gives_no_row_for_an_image() -> None:
    """timm lists encoders beside classifiers; on the meta device: this one is large."""
    from pipelines.backbone_features import _no_features

    assert "features of shape [2, 2048, 16, 16] for 2 images" in str(_no_features("mobilenetv5_300m_enc", torch.zeros(2, 2048, 16, 16)))
    assert "features that are a tuple" in str(_no_features("inception_v3", (torch.zeros(1), torch.zeros(1))))


def test_channels_and_colour_must_agree(weights: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"color L with backbone\.in_channels 3\. Allowed: L with in_channels 1, or RGB"):
        select_backbone(entry(weights, preprocess=GREY.model_dump()))


@pytest.mark.parametrize(
    "described",
    [
        {"std": [0.1, 0.2, 0.0]},
        {"interpolation": "magic"},
        {"input_size": [3, 4, 4]},
        {"input_size": [3, 9999, 9999]},
    ],
)
def test_a_description_that_gives_no_preprocessing(weights: Path, tmp_path: Path, described: dict[str, Any]) -> None:
    copy = tmp_path / "w.safetensors"
    copy.write_bytes(weights.read_bytes())
    copy.with_suffix(".json").write_text(json.dumps(described))
    with pytest.raises(ConfigurationError, match=r"that gives no preprocessing: .*state backbone\.preprocess in the conf file"):
        select_backbone(entry(copy, preprocess=None))


def test_a_description_with_two_of_three_colours(weights: Path, tmp_path: Path) -> None:
    copy = tmp_path / "w.safetensors"
    copy.write_bytes(weights.read_bytes())
    copy.with_suffix(".json").write_text('{"mean": [0.5, 0.5]}')
    with pytest.raises(ConfigurationError, match=r"w\.json, .* cannot be read: .*2 values where one for each colour, or one for all"):
        select_backbone(entry(copy, preprocess=None))


def test_a_wrong_hash(weights: Path) -> None:
    with pytest.raises(IntegrityError, match=rf"w\.safetensors with sha256 .* the stated sha256 {'1' * 64}.*fetch the file again"):
        select_backbone(entry(weights, sha256="1" * 64))


# Samples.


def run(weights: Path, root: Path, counts: dict[str, int], method: dict[str, Any], images: dict[str, bytes] | None = None) -> Path:
    """Stage `train` on so many training samples of each label, and one validation sample of each; `images` are added to `a`."""
    (root / "data").mkdir(parents=True)
    (root / "out").mkdir()
    rng = np.random.default_rng(0)
    samples = []

    def add(name: str, data: bytes, label: str, split: Any) -> None:
        (root / "data" / name).write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        samples.append(Sample(digest, name, label, digest, "default", "", split))

    for label, count in counts.items():
        for number in range(count + 1):
            pixels = rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)
            add(f"{label}{number}.png", encoded(Image.fromarray(pixels)), label, "train" if number < count else "validation")
    for name, data in (images or {}).items():
        add(name, data, "a", "train")
    write_samples(samples, root / "samples.csv")
    content = project(**json.loads(entry(weights).model_dump_json())) | {"labels": list(counts), "method": method}
    config = ProjectConfig.model_validate(content)
    write_selected(select_backbone(config.backbone), root / "backbone.json")  # type: ignore[arg-type]
    kept = KeptFolders(root / "features", root / "checkpoints")
    train(root / "samples.csv", root / "data", root / "backbone.json", config, kept, root / "out")
    return root / "out"


PROBE = {"kind": "probe", "strengths": [1.0], "folds": 2}
STEP = {"kind": "fine_tune", "n_upper_blocks": 1, "epochs": 1, "batch_size": 4, "augment": {"policy": "none"}}


@pytest.mark.parametrize("kind", sorted(METHODS.keys() - {"adapt", "setfit"}))  # which train another method first, or texts alone
def test_a_label_without_a_training_sample(weights: Path, tmp_path: Path, kind: str) -> None:
    """Fewer samples than labels: no method invents a class."""
    method = {"probe": PROBE, "prototype": {}}.get(kind, {"probe": PROBE} if kind in ("lp_ft", "auto", "lora") else {}) | {"kind": kind}
    with pytest.raises(DataError, match=r"training samples: 0 of 'c'.*label such samples, or remove the label"):
        run(weights, tmp_path / "made", {"a": 2, "b": 2, "c": 0}, method)


@pytest.mark.parametrize(
    "method", [PROBE, {"kind": "prototype"}, {**STEP, "kind": "lp_ft", "probe": PROBE}], ids=lambda method: method["kind"]
)
def test_one_sample_of_a_label_is_learnt_from(weights: Path, tmp_path: Path, method: dict[str, Any]) -> None:
    """Where nothing has to be chosen by cross-validation."""
    state = safetensors.torch.load_file(run(weights, tmp_path / "made", {"a": 4, "b": 1}, method) / "weights.safetensors")
    assert state["head.weight"].shape[0] == 2
    assert bool(state["head.weight"].isfinite().all())


@pytest.mark.parametrize("kind", ["probe", "lp_ft", "auto"])
def test_one_sample_of_a_label_cannot_be_in_two_folds(weights: Path, tmp_path: Path, kind: str) -> None:
    with pytest.raises(DataError, match=r"1 of 'b'.*at least 2 of every label.*method prototype"):
        run(weights, tmp_path / "made", {"a": 4, "b": 1}, {"kind": kind})


# Images.


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def gradient(side_px: int = 24) -> np.ndarray[Any, Any]:
    ramp = np.linspace(0, 255, side_px).astype(np.uint8)
    return np.stack([np.tile(ramp, (side_px, 1)), np.tile(ramp[:, None], (1, side_px)), np.full((side_px, side_px), 128, np.uint8)], axis=2)


def every_kind() -> dict[str, bytes]:
    """One file of each kind that people have: modes, depths, rotations, formats."""
    colour = Image.fromarray(gradient())
    grey = colour.convert("L")
    sixteen = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    palette = colour.convert("P", palette=Image.Palette.ADAPTIVE)
    see_through = colour.copy()
    see_through.putalpha(grey)
    frames = [Image.new("RGB", (24, 24), shade) for shade in ("red", "blue")]
    files = {
        "grey.png": encoded(grey),
        "one_bit.png": encoded(grey.convert("1")),
        "sixteen.png": encoded(sixteen),
        "sixteen.tif": encoded(sixteen, "TIFF"),
        "palette.png": encoded(palette),
        "palette_transparent.png": encoded(palette, transparency=0),
        "grey_alpha.png": encoded(see_through.convert("LA")),
        "alpha.png": encoded(see_through),
        "alpha.webp": encoded(see_through, "WEBP", lossless=True),
        "cmyk.jpg": encoded(colour.convert("CMYK"), "JPEG"),
        "cmyk.tif": encoded(colour.convert("CMYK"), "TIFF"),
        "moving.gif": encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        "pixel.png": encoded(Image.new("RGB", (1, 1), "red")),
        "colour.bmp": encoded(colour, "BMP"),
    }
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        files[f"turned{orientation}.jpg"] = encoded(colour, "JPEG", exif=exif, quality=95)
    return files


def test_every_kind_of_image_goes_through_decoding() -> None:
    for name, data in every_kind().items():
        for spec in (RGB, GREY):
            array = preprocess([data], spec)
            assert array.shape == (1, spec.n_channels, 32, 32), name
            assert np.isfinite(array).all(), name
            assert array.min() >= -1 - 1e-6, name
            assert array.max() <= 1 + 1e-6, name
        assert isinstance(inspect_bytes(data), ImageFile), name


def test_every_kind_of_image_goes_through_a_training_step(weights: Path, tmp_path: Path) -> None:
    out = run(weights, tmp_path / "made", {"a": 2, "b": 8}, STEP, every_kind())
    state = safetensors.torch.load_file(out / "weights.safetensors")
    assert all(bool(tensor.isfinite().all()) for tensor in state.values())


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_eight_rotations_of_exif(orientation: int) -> None:
    """Against the definition of the tag: where row 0 and column 0 of the stored pixels are seen."""
    stored = gradient()[:, :, 0] + gradient()[:, :, 1] // 3
    seen = {
        1: stored,
        2: stored[:, ::-1],
        3: stored[::-1, ::-1],
        4: stored[::-1],
        5: stored.T,
        6: stored.T[:, ::-1],
        7: stored.T[::-1, ::-1],
        8: stored.T[::-1],
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(np.asarray(decode_image(encoded(Image.fromarray(stored), exif=exif), GREY)), seen)


def test_what_the_kinds_look_like() -> None:
    files = every_kind()
    grey = np.asarray(Image.open(io.BytesIO(files["grey.png"])))
    for name in ("sixteen.png", "sixteen.tif"):
        np.testing.assert_array_equal(np.asarray(decode_image(files[name], GREY)), grey)
    assert decode_image(files["moving.gif"], RGB).getpixel((3, 3)) == (255, 0, 0)  # the first picture
    white = np.asarray(decode_image(files["grey_alpha.png"], GREY)).astype(int)
    np.testing.assert_allclose(white, 255 - grey * (255 - grey.astype(int)) / 255, atol=2)  # laid on white: shade and alpha are one here
    assert set(np.unique(np.asarray(decode_image(files["one_bit.png"], GREY)))) == {0, 255}
    np.testing.assert_allclose(np.asarray(decode_image(files["cmyk.tif"], RGB)).astype(int), gradient(), atol=2)


def test_a_single_pixel_is_an_image_of_one_colour(weights: Path, tmp_path: Path) -> None:
    array = preprocess([encoded(Image.new("RGB", (1, 1), (255, 0, 0)))], RGB)
    np.testing.assert_allclose(array[0, 0], 1)
    np.testing.assert_allclose(array[0, 1:], -1)


def blank_png(width_px: int, height_px: int) -> bytes:
    """A 1-bit PNG of this size, made without the pixels in memory: rows of zeros pack 1,000 to 1."""
    packer = zlib.compressobj(9)
    row = b"\0" * (1 + (width_px + 7) // 8)
    body = b"".join(packer.compress(row) for _ in range(height_px)) + packer.flush()

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width_px, height_px, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def test_an_image_of_400_million_pixels_is_refused_before_it_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = blank_png(20_000, 20_000)
    assert len(data) < 100_000

    def decoded(_: object) -> None:
        raise AssertionError("its pixels were read")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", decoded)
    with pytest.raises(DataError, match=r"(20000 x 20000 = )?400000000 pixels.*at most 50000000 pixels.*scale the image down"):
        decode_image(data, RGB)
    assert isinstance(inspect_bytes(data), Unusable)
    (tmp_path / "large.png").write_bytes(data)
    assert sides_px(tmp_path / "large.png") is None


def test_a_long_strip_is_squashed_or_refused() -> None:
    strip = blank_png(100_000, 1)
    assert preprocess([strip], RGB.model_copy(update={"fit": "squash", "crop_frac": 1.0})).shape == (1, 3, 32, 32)
    large = RGB.model_copy(update={"height_px": 224, "width_px": 224})
    with pytest.raises(DataError, match=r"100000 x 1 pixels, too long a strip to be scaled: \d+ pixels.*crop the image"):
        image_to_array(decode_image(strip, large), large)


def test_a_training_names_the_file_that_is_no_image(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"broken\.png: .*do not decode as an image"):
        run(weights, tmp_path / "made", {"a": 2, "b": 2}, PROBE, {"broken.png": encoded(Image.new("L", (9, 9)))[:40]})


# Training.


def test_a_loss_that_is_not_finite_names_samples(weights: Path, tmp_path: Path) -> None:
    ruinous = {**STEP, "learning_rate": 1e30, "warmup_frac": 0.0, "n_upper_blocks": None, "epochs": 4, "max_gradient_norm": 1e30}
    with pytest.raises(DataError, match=r"loss of (nan|inf|-inf).*\.png.*lower method\.learning_rate"):
        run(weights, tmp_path / "made", {"a": 8, "b": 8}, ruinous)


def test_a_budget_too_short_for_one_epoch_keeps_the_start(weights: Path, tmp_path: Path) -> None:
    method = {**STEP, "kind": "lp_ft", "probe": PROBE, "budget_minutes": 1e-9, "epochs": 50}
    record = json.loads((run(weights, tmp_path / "made", {"a": 8, "b": 8}, method) / "training.json").read_text())
    assert record["best_epoch"] == 0
    assert [row["number"] for row in record["curve"]] == [0]


def test_the_backbone_that_was_selected_is_the_one_that_is_loaded(weights: Path, tmp_path: Path) -> None:
    copy = tmp_path / "w.safetensors"
    copy.write_bytes(weights.read_bytes())
    config = entry(copy)
    selected = select_backbone(config)
    copy.write_bytes(copy.read_bytes()[:-4] + b"\0\0\0\1")
    with pytest.raises(IntegrityError, match="the stated sha256"):
        load_backbone(config, selected)
