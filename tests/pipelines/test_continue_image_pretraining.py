from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from pipelines.backbones import load_backbone, select_backbone
from pipelines.config import FineTuneMethod, ProjectConfig, TimmBackbone
from pipelines.continue_image_pretraining import ContinuedImages, continue_image_pretraining, stated_flips
from pipelines.core.bundle import file_sha256
from pipelines.core.errors import ConfigurationError, DataError, RefusedError
from pipelines.image_files import ImageFile, inspect_bytes
from pipelines.sample_data import digit_files
from pipelines.siamese import loss, training
from pipelines.siamese.training import ImagePretrainingSettings
from pipelines.training.fine_tuning import train_fine_tune
from tests.pipelines.conftest import tiny_config
from tests.pipelines.training.gradient_cases import StoppedError, small_material, stopping_at

# A network that knows nothing takes larger steps than a pretrained one.
SETTINGS = ImagePretrainingSettings(epochs=2, batch_size=16, learning_rate=1e-3, least_area=0.4)


def write_digits(folder: Path, n: int) -> Path:
    folder.mkdir(parents=True)
    pictures = {name: content for name, content in digit_files().items() if name.endswith(".png")}
    for name, content in sorted(pictures.items())[:n]:
        (folder / Path(name).name).write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_digits(tmp_path_factory.mktemp("unlabelled") / "digits", 144)


@pytest.fixture
def run(tiny_weights: Path, images: Path, tmp_path: Path) -> Any:
    def continued(name: str = "out", **changes: Any) -> ContinuedImages:
        given = {"settings": SETTINGS, "test_digests": (), "checkpoints": tmp_path / "checkpoints", "out": tmp_path / name}
        config = changes.pop("config", tiny_config(tiny_weights))
        return continue_image_pretraining(config, changes.pop("images", images), **given | changes)

    return continued


def weights_of(done: ContinuedImages) -> bytes:
    assert done.entry.weights is not None
    return done.entry.weights.read_bytes()


def test_what_is_written_is_a_backbone_that_trains_on(run: Any, tiny_weights: Path, digits_folder: Path, tmp_path: Path) -> None:
    said: list[str] = []
    done = run("weights/digits", tell=said.append)
    before, after = done.outcome.before, done.outcome.after
    assert after.loss < before.loss
    assert before.n_images == after.n_images == 16
    assert after.spread > training.LEAST_SPREAD
    assert said == ["144 images: 0 left out because they are in the workspace's test or holdout split, 0 copies, 0 unreadable; "
                    "128 to learn from, 16 held out to measure on."]  # fmt: skip
    assert [epoch.number for epoch in done.outcome.curve] == [0, 1, 2, 3]
    assert not (tmp_path / "checkpoints").exists()
    # The conf file's lines name it.
    stated = yaml.safe_load(done.conf_lines(tmp_path))["backbone"]
    assert stated["weights"] == "weights/digits/test_resnet.digits.safetensors"
    config = tiny_config(tiny_weights, backbone=stated | {"weights": tmp_path / stated["weights"]})
    assert config.backbone == done.entry
    chosen = select_backbone(done.entry)
    assert (chosen.spec.origin, chosen.preprocess) == ("test_resnet.digits.safetensors", done.entry.preprocess)
    new, old = load_backbone(done.entry, chosen).eval(), load_backbone(*selected(tiny_config(tiny_weights))).eval()
    with torch.inference_mode():
        assert not torch.allclose(new(torch.ones(1, 1, 32, 32)), old(torch.ones(1, 1, 32, 32)), atol=1e-3)
    # And a fine-tuning starts from it.
    material = small_material(tiny_weights, digits_folder, tmp_path, {"kind": "fine_tune", "epochs": 1, "batch_size": 16})
    material = dataclasses.replace(material, fresh_backbone=lambda _: load_backbone(done.entry, chosen))
    assert isinstance(material.config.method, FineTuneMethod)
    trained = train_fine_tune(material, material.config.method)
    assert trained.record["n_train"] == 40


def selected(config: ProjectConfig) -> Any:
    assert isinstance(config.backbone, TimmBackbone)
    return config.backbone, select_backbone(config.backbone)


def test_the_record_says_how_it_came_to_be(run: Any, tiny_weights: Path, tmp_path: Path) -> None:
    done = run(settings=SETTINGS.model_copy(update={"epochs": 1}))
    record = json.loads((tmp_path / "out" / "test_resnet.out.json").read_text())
    assert record["sha256"] == done.entry.sha256 == file_sha256(tmp_path / "out" / "test_resnet.out.safetensors")
    assert record["from"] == {"origin": "test_resnet.safetensors", "weights_sha256": file_sha256(tiny_weights), "licence": "unknown"}
    assert (record["arch"], record["input_size"], record["mean"], record["std"]) == ("test_resnet", [1, 32, 32], [0.5], [0.5])
    assert (record["loss_before"], record["loss_after"]) == (done.outcome.before.loss, done.outcome.after.loss)
    assert [sorted(row) for row in record["curve"]] == [["held_out_loss", "round", "spread", "train_loss"]] * 3
    assert record["settings"]["least_area"] == 0.4
    assert "licence" not in record
    assert str(tmp_path) not in json.dumps(record)


def test_a_killed_one_goes_on_to_the_same_bits(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planned = training._plan

    def often(*given: Any) -> Any:
        plan, watch = planned(*given)
        return dataclasses.replace(plan, seconds_between_checkpoints=0.0), watch

    monkeypatch.setattr(training, "_plan", often)
    one = SETTINGS.model_copy(update={"epochs": 1})
    whole = run("a/same", settings=one)
    with pytest.raises(StoppedError):
        run("b/same", settings=one, progress=stopping_at(11))  # in the middle of the last round
    assert list((tmp_path / "checkpoints").rglob("step-*.safetensors"))
    assert not (tmp_path / "b").exists() or not any((tmp_path / "b").iterdir())
    steps: list[int] = []
    again = run("b/same", settings=one, progress=lambda name, done, _: steps.append(done) if name == "continued pretraining" else None)
    assert min(steps) > 1
    assert weights_of(again) == weights_of(whole)
    assert again.outcome == whole.outcome


def test_images_of_the_test_split_are_not_looked_at(run: Any, images: Path, tmp_path: Path) -> None:
    """With them in the folder and without them the result is the same."""
    files = sorted(images.iterdir())
    found = [inspect_bytes(file.read_bytes()) for file in files[:20]]
    judged = {image.pixel_digest for image in found if isinstance(image, ImageFile)}
    one = SETTINGS.model_copy(update={"epochs": 1})
    done = run("with/same", test_digests=judged, settings=one)
    assert done.images.counts.n_of_test == 20
    (tmp_path / "others").mkdir()
    for number, file in enumerate(files[20:]):
        (tmp_path / "others" / f"{number}.png").write_bytes(file.read_bytes())
    other = run("without/same", test_digests=judged, settings=one, images=tmp_path / "others")
    assert weights_of(done) == weights_of(other)


def test_without_the_stop_gradient_the_collapse_is_seen(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: the gradient goes through projections, too."""
    similarity = torch.nn.functional.cosine_similarity
    monkeypatch.setattr(loss, "negative_cosine", lambda predictions, projections: -similarity(predictions, projections, dim=1))
    words = r"outputs for 16 held-out images with a spread of 0\.[01]\d\d in round \d+: they have collapsed into one"
    with pytest.raises(RefusedError, match=words):
        run(settings=SETTINGS.model_copy(update={"epochs": 8}))
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "checkpoints").exists()


def test_a_loss_that_did_not_fall_writes_nothing(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: the wrong sign, once the heads have learnt."""
    right = training.SiameseLoss.__call__
    monkeypatch.setattr(
        training.SiameseLoss,
        "__call__",
        lambda self, view, inputs, targets, part: right(self, view, inputs, targets, part) * (-1 if part.epoch > 1 else 1),
    )
    monkeypatch.setattr(training, "LEAST_SPREAD", 0.0)
    with pytest.raises(RefusedError, match=r"a loss on held-out images that did not fall: -?0\.\d{4} before, -?0\.\d{4} after"):
        run(settings=SETTINGS.model_copy(update={"epochs": 4, "learning_rate": 3e-3}))
    assert not (tmp_path / "out").exists()


def test_too_little_time_says_so_and_keeps_what_was_done(run: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"a deadline that was over in round 1, before .*2 rounds at least.*raise --minutes"):
        run(settings=SETTINGS.model_copy(update={"minutes": 1e-9}))
    assert list((tmp_path / "checkpoints").rglob("step-*.safetensors"))


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"settings": SETTINGS.model_copy(update={"batch_size": 129})}, DataError, "128 images to learn from with --batch-size 129"),
        ({"settings": SETTINGS, "compute": {"micro_batch_size": 1}}, ConfigurationError, "one image that goes through the network at once"),
        ({"out": Path(__file__).parent}, ConfigurationError, "which exists"),
        ({"images": Path("/nowhere")}, DataError, "--images /nowhere, which is not there"),
        ({"backbone": "best_of"}, ConfigurationError, "whose backbone is of kind best_of"),
    ],
)
def test_bad_requests(run: Any, tiny_weights: Path, tmp_path: Path, changes: dict[str, Any], error: type[Exception], words: str) -> None:
    config = tiny_config(tiny_weights, **({"compute": changes.pop("compute")} if "compute" in changes else {}))
    if changes.pop("backbone", None):
        candidates = [{"kind": "shipped"}, config.backbone.model_dump(exclude_none=True)]
        config = tiny_config(tiny_weights, backbone={"kind": "best_of", "candidates": candidates})
    with pytest.raises(error, match=re.escape(words)):
        run(config=config, **changes)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("method", "flips"),
    [
        ({"kind": "probe"}, ()),
        ({"kind": "auto", "fine_tune": {"augment": {"flips": "both"}}}, ("horizontal", "vertical")),
        ({"kind": "fine_tune", "augment": {"flips": "vertical"}}, ("vertical",)),
        ({"kind": "lp_ft", "augment": {"flips": "auto"}}, None),
        ({"kind": "lp_ft"}, ()),
    ],
)
def test_flips_are_those_that_the_method_states(tiny_weights: Path, method: dict[str, object], flips: tuple[str, ...] | None) -> None:
    assert stated_flips(tiny_config(tiny_weights, method=method).method) == flips


@pytest.mark.slow
def test_on_real_digits_the_shipped_backbone_learns(tmp_path: Path) -> None:
    config = ProjectConfig.model_validate(
        {
            "project": "digits",
            "task": "image",
            "labels": ["0", "1"],
            "backbone": {"kind": "shipped"},
            "gates": [{"kind": "min_metric", "floor": 0.5}],
        }
    )
    settings = ImagePretrainingSettings(epochs=3, batch_size=32, learning_rate=3e-4)
    done = continue_image_pretraining(config, write_digits(tmp_path / "digits", 400), (), settings, tmp_path / "c", tmp_path / "new")
    assert done.outcome.after.loss < done.outcome.before.loss - 0.03
    assert done.outcome.after.spread > 0.5
    assert done.entry.model_args["channels"] == (32, 64, 112, 224)
    chosen = select_backbone(TimmBackbone.model_validate(yaml.safe_load(done.conf_lines(Path("/elsewhere")))["backbone"]))
    assert (chosen.spec.name, chosen.spec.licence) == ("resnet10t", "Apache-2.0")
