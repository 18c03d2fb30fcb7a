from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from pipelines.backbones import select_backbone
from pipelines.calibrate import calibrate
from pipelines.config import ProjectConfig
from pipelines.core.bundle import MANIFEST, read_manifest, verify_files
from pipelines.core.errors import DataError, IntegrityError
from pipelines.core.predict import Predictions, Predictor, check_goldens, read_goldens
from pipelines.dataset import Split, read_samples, write_samples
from pipelines.evaluate import evaluate, expected_calibration_error
from pipelines.package import PackageInputs, _golden_indices, package
from pipelines.selected_backbone import write_selected
from pipelines.training.train import KeptFolders, train
from tests.pipelines.conftest import LABELS, tiny_config


@dataclass(frozen=True)
class Made:
    root: Path
    config: ProjectConfig
    digits: Path

    @property
    def bundle(self) -> Path:
        return self.root / "package" / "bundle"


def make(root: Path, weights: Path, digits: Path) -> Made:
    config = tiny_config(weights)
    for stage in ("train", "calibrate", "package"):
        (root / stage).mkdir()
    write_selected(select_backbone(config.backbone), root / "backbone.json")
    train(
        digits / "samples.csv",
        digits / "data",
        root / "backbone.json",
        config,
        KeptFolders(root / "features", root / "checkpoints"),
        root / "train",
    )
    calibrate(root / "train", root / "calibrate")
    lineage = {"dataset": "0" * 32, "train_domains": {"default": 120}, "n_samples": 240}
    inputs = PackageInputs(root / "train", root / "calibrate", root / "backbone.json", digits / "samples.csv", digits / "data", lineage)
    package(inputs, config, root / "package")
    return Made(root, config, digits)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, tiny_weights: Path, digits_folder: Path) -> Made:
    return make(tmp_path_factory.mktemp("made"), tiny_weights, digits_folder)


@pytest.fixture
def copy(made: Made, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made.bundle, tmp_path / "bundle"))


def test_the_same_inputs_give_the_same_bundle_bit_for_bit(made: Made, tmp_path: Path, tiny_weights: Path, digits_folder: Path) -> None:
    again = make(tmp_path, tiny_weights, digits_folder)
    assert read_manifest(again.bundle) == read_manifest(made.bundle)


def test_the_order_of_the_labels_table_does_not_matter(made: Made, tmp_path: Path) -> None:
    samples = read_samples(made.digits / "samples.csv")
    write_samples(reversed(samples), tmp_path / "samples.csv")
    train(
        tmp_path / "samples.csv",
        made.digits / "data",
        made.root / "backbone.json",
        made.config,
        KeptFolders(tmp_path / "f", tmp_path / "c"),
        tmp_path,
    )
    assert (tmp_path / "weights.safetensors").read_bytes() == (made.root / "train" / "weights.safetensors").read_bytes()


def test_it_loads_verified_and_answers_from_raw_bytes(made: Made) -> None:
    predictor = Predictor.load(made.bundle)
    test = read_samples(made.digits / "samples.csv", "test")
    raw = [(made.digits / "data" / sample.path).read_bytes() for sample in test]
    answers = predictor.predict(raw)
    assert set(answers.labels) <= set(LABELS)
    np.testing.assert_allclose(answers.probabilities.sum(axis=1), 1)
    assert np.mean([a == s.label for a, s in zip(answers.labels, test, strict=True)]) > 0.6  # chance is 0.25; the backbone is untrained
    one_by_one = np.concatenate([predictor.predict([data]).probabilities for data in raw[:5]])
    np.testing.assert_allclose(one_by_one, answers.probabilities[:5], atol=1e-5)


def test_answers_equal_the_networks_that_were_trained(made: Made) -> None:
    """The independent path: the validation logits that training wrote, through softmax by hand."""
    from pipelines.core.heads import softmax

    validation = safetensors.numpy.load_file(made.root / "train" / "validation.safetensors")
    samples = sorted(read_samples(made.digits / "samples.csv", "validation"), key=lambda sample: sample.id)
    predictor = Predictor.load(made.bundle)
    answers = predictor.predict([(made.digits / "data" / sample.path).read_bytes() for sample in samples])
    np.testing.assert_allclose(answers.probabilities, softmax(validation["logits"], predictor.manifest.temperature), atol=1e-5)


def test_the_reference_is_of_test_samples(made: Made) -> None:
    reference = safetensors.numpy.load_file(made.bundle / "reference.safetensors")
    assert len(reference["labels"]) == len(read_samples(made.digits / "samples.csv", "test"))
    assert reference["embeddings"].shape[1] == made.config.bundle.n_compact_embedding
    predicted = reference["probabilities"].argmax(axis=1)
    np.testing.assert_array_equal(reference["correct"], predicted == reference["labels"])


def test_goldens_cover_labels_and_stay_away_from_the_boundary(made: Made) -> None:
    goldens = read_goldens(made.bundle)
    assert len(goldens) == made.config.bundle.n_goldens
    assert {golden.label for golden, _ in goldens} == set(LABELS)
    assert all(sorted(golden.probabilities)[-1] - sorted(golden.probabilities)[-2] >= 0.2 for golden, _ in goldens)


def test_no_time_and_no_path_in_it(made: Made, tiny_weights: Path) -> None:
    for name in (MANIFEST, "lineage.json", "card.md", "goldens.json"):
        text = (made.bundle / name).read_text()
        assert str(tiny_weights.parent) not in text
        assert str(made.root) not in text


@pytest.mark.parametrize(
    ("name", "problem"), [("weights.safetensors", "changed"), ("goldens.json", "is missing"), ("extra.bin", "is not in the manifest")]
)
def test_a_changed_file_is_named(copy: Path, name: str, problem: str) -> None:
    path = copy / name
    if problem == "is missing":
        path.unlink()
    elif problem == "changed":
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(bytes(data))
    else:
        path.write_bytes(b"x")
    with pytest.raises(IntegrityError, match=f"{name} {problem}"):
        Predictor.load(copy)


def test_other_weights_under_a_resealed_manifest_fail_the_goldens(copy: Path) -> None:
    """An attacker, or a bug, that gets the hashes right still does not get the answers right."""
    tensors = safetensors.numpy.load_file(copy / "weights.safetensors")
    tensors["head.bias"] = tensors["head.bias"] + np.float32([3, 0, 0, 0])
    safetensors.numpy.save_file(tensors, copy / "weights.safetensors")
    from pipelines.core.bundle import seal

    seal(copy, read_manifest(copy)[0])
    verify_files(copy, read_manifest(copy)[0])
    with pytest.raises(IntegrityError, match=r"answers its golden .* differently"):
        Predictor.load(copy)


def test_a_manifest_of_another_format(copy: Path) -> None:
    manifest = json.loads((copy / MANIFEST).read_text())
    (copy / MANIFEST).write_text(json.dumps(manifest | {"format_version": 2}))
    with pytest.raises(IntegrityError, match=r"(?s)bundle\.json that cannot be read.*Allowed: a bundle of format 1"):
        Predictor.load(copy)


def test_weights_of_another_architecture(copy: Path) -> None:
    from pipelines.core.bundle import seal

    manifest = read_manifest(copy)[0]
    other = manifest.backbone.model_copy(update={"name": "test_resnet", "in_channels": 3})
    seal(copy, manifest.model_copy(update={"backbone": other}))
    with pytest.raises(IntegrityError, match="weights that do not fit test_resnet"):
        Predictor.load(copy)


def test_bad_bytes_are_bad_data(made: Made) -> None:
    with pytest.raises(DataError, match="do not decode"):
        Predictor.load(made.bundle).predict([b"no image"])


def test_goldens_within_tolerance_pass(made: Made) -> None:
    predictor = Predictor.load(made.bundle, verify=False)
    check_goldens(predictor, made.bundle)


def test_evaluation_counts_what_the_predictions_say(made: Made, tmp_path: Path) -> None:
    evaluate(made.bundle, made.digits / "samples.csv", made.digits / "data", tmp_path)
    content = json.loads((tmp_path / "evaluation.json").read_text())
    rows = [line.split(",") for line in (tmp_path / "predictions.csv").read_text().splitlines()[1:]]
    correct = [row[2] == row[3] for row in rows]
    assert content["accuracy"]["n"] == len(rows)
    assert content["accuracy"]["value"] == pytest.approx(sum(correct) / len(rows))
    assert content["accuracy"]["low"] < content["accuracy"]["value"] <= content["accuracy"]["high"]
    assert sum(map(sum, content["confusion"])) == len(rows)
    assert sum(content["confusion"][i][i] for i in range(len(LABELS))) == sum(correct)


@pytest.mark.parametrize(("stage", "split"), [("train", "train"), ("train", "validation"), ("package", "test"), ("evaluate", "test")])
@pytest.mark.parametrize("fault", ["changed", "gone"])
def test_a_file_that_changed_since_it_was_listed_is_refused(made: Made, tmp_path: Path, stage: str, split: Split, fault: str) -> None:
    data = Path(shutil.copytree(made.digits / "data", tmp_path / "data"))
    samples = made.digits / "samples.csv"
    sample = read_samples(samples, split)[3]
    if fault == "changed":
        # A sound image still: nothing but the hash could tell.
        shutil.copyfile(data / read_samples(samples, split)[4].path, data / sample.path)
    else:
        (data / sample.path).unlink()
    out = tmp_path / "out"
    out.mkdir()
    selected = made.root / "backbone.json"
    inputs = PackageInputs(made.root / "train", made.root / "calibrate", selected, samples, data, {})
    stages: dict[str, Callable[[], None]] = {
        "train": lambda: train(samples, data, selected, made.config, KeptFolders(out / "f", out / "c"), out),
        "package": lambda: package(inputs, made.config, out),
        "evaluate": lambda: evaluate(made.bundle, samples, data, out),
    }
    message = "changed since it was listed" if fault == "changed" else r"cannot be read any more \(No such file or directory\)"
    with pytest.raises(IntegrityError, match=f"the file {sample.path} of the data that {message}.*Next: run the command again"):
        stages[stage]()
    assert not (tmp_path / "out" / "predictions.csv").exists()


def test_calibration_error_equals_a_slow_reference() -> None:
    rng = np.random.default_rng(0)
    confidences, correct = rng.uniform(0.2, 1, 300), rng.uniform(size=300) < 0.7
    expected = 0.0
    for low in np.arange(10) / 10:
        inside = [i for i in range(300) if low <= confidences[i] < low + 0.1 + (1e-9 if low > 0.89 else 0)]
        if inside:
            expected += len(inside) / 300 * abs(np.mean(confidences[inside]) - np.mean(correct[inside]))
    assert expected_calibration_error(confidences, correct) == pytest.approx(expected)


def test_goldens_of_sets_stay_away_from_every_threshold() -> None:
    """Near is a matter of log odds: a threshold of 0.01 has no probability that lies 0.1 below it."""
    probabilities = np.array([[0.9, 0.001], [0.52, 0.001], [0.9, 0.0099], [0.1, 0.001], [0.1, 0.5], [1.0, 0.0]])
    thresholds = (0.5, 0.01)
    labels = ("a", "a", "a", "", "b", "a")
    answers = Predictions("0" * 16, labels, probabilities, np.zeros((6, 2), np.float32), np.zeros((6, 6), np.float32), thresholds)
    assert _golden_indices(answers, 6) == [0, 3, 4, 5, 1, 2]
    assert _golden_indices(answers, 3) == [0, 3, 4]
