"""A bundle on samples of another time: other labels, another order of them, one label a sample before there were sets."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.answers import TestAnswers, read_answers
from pipelines.core.bundle import read_manifest, seal
from pipelines.core.predict import Predictor
from pipelines.dataset import Sample, write_samples
from pipelines.evaluate import evaluate
from tests.pipelines.gates.conftest import build_bundle
from tests.pipelines.planted import picture

N_IMAGES = 24


@pytest.fixture(scope="module")
def one_label(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("one") / "bundle"
    build_bundle(folder)
    return folder


@pytest.fixture(scope="module")
def sets(one_label: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same weights, whose labels do not exclude each other; the thresholds lie in the middle of the answers."""
    folder = Path(shutil.copytree(one_label, tmp_path_factory.mktemp("sets") / "bundle"))
    manifest = read_manifest(folder)[0].model_copy(update={"labels_per_sample": "many", "thresholds": (0.5, 0.5)})
    (folder / "goldens.json").write_text("[]")
    seal(folder, manifest)
    middle = np.median(Predictor.load(folder, verify=False).predict(images()).probabilities, axis=0)
    manifest = manifest.model_copy(update={"thresholds": tuple(middle.tolist())})
    golden = sorted((folder / "goldens").iterdir())[0]
    seal(folder, manifest)
    answer = Predictor.load(folder, verify=False).predict([golden.read_bytes()])
    stored = [{"file": golden.name, "label": answer.labels[0], "probabilities": answer.probabilities[0].tolist()}]
    (folder / "goldens.json").write_text(json.dumps(stored))
    seal(folder, manifest)
    return folder


def images() -> list[bytes]:
    return [picture(seed, size_px=(32, 32)) for seed in range(N_IMAGES)]


def evaluated(bundle: Path, folder: Path, labels: list[str], kind: str = "many") -> tuple[dict[str, Any], TestAnswers]:
    """The evaluation on `images()` with these true labels, and two scanners in turn."""
    samples = []
    for number, (image, label) in enumerate(zip(images(), labels, strict=True)):
        (folder / f"{number}.png").write_bytes(image)
        samples.append(Sample(hashlib.sha256(image).hexdigest(), f"{number}.png", label, f"{number}", "default", "", "test"))
    samples = [dataclasses.replace(sample, slices=(("scanner", "ab"[place % 2]),)) for place, sample in enumerate(samples)]
    write_samples(samples, folder / "samples.csv")
    evaluate(bundle, folder / "samples.csv", folder, folder, labels_per_sample=kind)
    return json.loads((folder / "evaluation.json").read_bytes()), read_answers(folder / "predictions.csv", kind)


def test_sets_in_another_order_are_the_same_sets(sets: Path, tmp_path: Path) -> None:
    answered = Predictor.load(sets).predict(images()).labels
    assert set(answered) == {"", "cat", "dog", "cat|dog"}
    turned = ["|".join(reversed(label.split("|"))) for label in answered]
    found, answers = evaluated(sets, tmp_path, turned)
    assert answers.correct.all()
    assert answers.labels.tolist() == answers.predicted.tolist() == turned
    assert found["accuracy"]["value"] == found["macro_f1"] == found["mean_average_precision"] == 1


def test_a_wrong_set_is_wrong_and_an_unknown_label_can_never_be_right(sets: Path, tmp_path: Path) -> None:
    answered = list(Predictor.load(sets).predict(images()).labels)
    # One label more than is right, and one that the bundle does not have.
    true = ["owl" if label == "" else f"{label}|owl" if label == "dog" else label for label in answered]
    found, answers = evaluated(sets, tmp_path, true)
    assert answers.correct.tolist() == [label in ("cat", "cat|dog") for label in answered]
    assert found["by_label"].keys() == {"cat", "dog"}
    assert found["by_label"]["dog"]["f1"] == 1  # what the bundle can answer is judged
    assert found["accuracy"]["value"] < 1


def test_a_bundle_of_one_label_a_sample_is_judged_on_sets(one_label: Path, tmp_path: Path) -> None:
    answered = list(Predictor.load(one_label).predict(images()).labels)
    true = ["", "cat|dog", *answered[2:]]
    found, answers = evaluated(one_label, tmp_path, true)
    assert answers.correct.tolist() == [False, False] + [True] * (N_IMAGES - 2)
    assert found["accuracy"]["value"] == pytest.approx(1 - 2 / N_IMAGES)
    assert sum(map(sum, found["confusion"])) == N_IMAGES - 2
    assert "by_label" not in found


def test_the_confidence_of_a_set_is_written_beside_it(sets: Path, tmp_path: Path) -> None:
    _, answers = evaluated(sets, tmp_path, ["cat"] * N_IMAGES)
    np.testing.assert_array_equal(answers.confidences, Predictor.load(sets).predict(images()).confidences)


def test_slices_and_all_probabilities_are_kept(one_label: Path, sets: Path, tmp_path: Path) -> None:
    for place, (bundle, kind) in enumerate([(one_label, "one"), (sets, "many")]):
        (tmp_path / str(place)).mkdir()
        answered = list(Predictor.load(bundle).predict(images()).labels)
        true = ["cat", *answered[1:]]
        found, answers = evaluated(bundle, tmp_path / str(place), true, kind)
        assert answers.slices["scanner"].tolist() == ["a", "b"] * (N_IMAGES // 2)
        assert answers.label_names == ("cat", "dog")
        assert answers.exclusive == (kind == "one")
        np.testing.assert_array_equal(answers.probabilities, Predictor.load(bundle).predict(images()).probabilities)
        by_scanner = found["accuracy_by_slice"]["scanner"]
        assert by_scanner.keys() == {"a", "b"}
        for name in ("a", "b"):
            right = answers.correct[answers.slices["scanner"] == name]
            assert (by_scanner[name]["value"], by_scanner[name]["n"]) == (right.mean(), len(right))
