from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.answers import TestAnswers, read_answers, write_answers
from pipelines.core.bundle import BundleManifest, read_manifest
from pipelines.dataset import read_samples
from pipelines.evaluate import evaluate
from pipelines.mistakes import N_SHOWN, find_mistakes, label_to_explain, most_confident_mistakes, overlay
from tests.pipelines.small_run import small_run


@pytest.fixture(scope="module")
def bundle_of_digits(tmp_path_factory: pytest.TempPathFactory, tiny_weights: Path, digits_folder: Path) -> Path:
    return small_run(tmp_path_factory.mktemp("run"), tiny_weights, digits_folder).bundle


def answers(correct: list[bool], confidences: list[float]) -> TestAnswers:
    n = len(correct)
    predicted = np.array(["a" if right else "b" for right in correct])
    return TestAnswers(
        np.array([f"{place:02d}" for place in range(n)]), np.array(["d"] * n), np.array(["a"] * n), predicted, np.array(confidences)
    )


def test_the_most_confident_wrong_ones_come_first() -> None:
    found = most_confident_mistakes(answers([True, False, False, False, True], [1.0, 0.6, 0.9, 0.9, 0.5]), 2)
    assert found == [2, 3]
    assert most_confident_mistakes(answers([True, True], [0.9, 0.8]), 2) == []


@pytest.fixture
def evaluated(bundle_of_digits: Path, digits_folder: Path, tmp_path: Path) -> Path:
    (tmp_path / "evaluate").mkdir()
    evaluate(bundle_of_digits, digits_folder / "samples.csv", digits_folder / "data", tmp_path / "evaluate")
    return tmp_path / "evaluate"


def mistakes(bundle: Path, evaluated: Path, digits_folder: Path, out: Path) -> dict[str, object]:
    out.mkdir()
    find_mistakes(bundle, evaluated, digits_folder / "samples.csv", digits_folder / "data", out)
    content: dict[str, object] = json.loads((out / "mistakes.json").read_bytes())
    return content


def planted(evaluated: Path, n_wrong: int) -> None:
    """Every answer right but the first few."""
    known = read_answers(evaluated / "predictions.csv")
    predicted = known.labels.copy()
    predicted[:n_wrong] = np.where(known.labels[:n_wrong] == "0", "1", "0")
    write_answers(TestAnswers(known.ids, known.domains, known.labels, predicted, known.confidences), evaluated / "predictions.csv")


@pytest.mark.parametrize("n_wrong", [0, 1, N_SHOWN + 3])
def test_none_one_and_many_wrong(bundle_of_digits: Path, evaluated: Path, digits_folder: Path, tmp_path: Path, n_wrong: int) -> None:
    planted(evaluated, n_wrong)
    found = mistakes(bundle_of_digits, evaluated, digits_folder, tmp_path / "out")
    shown = found["shown"]
    assert isinstance(shown, list)
    n_test = len(read_samples(digits_folder / "samples.csv", "test"))
    assert (found["n"], found["n_wrong"], len(shown)) == (n_test, n_wrong, min(n_wrong, N_SHOWN))
    assert found["saliency"] == ("occlusion" if n_wrong else None)
    pictures = sorted(path.name for path in (tmp_path / "out").glob("*.png"))
    assert pictures == sorted(f"{place:02d}-{kind}.png" for place in range(len(shown)) for kind in ("image", "map"))
    for row in shown:
        assert row["label"] != row["predicted"]
        assert (digits_folder / "data" / row["path"]).is_file()
    for picture in pictures:
        with Image.open(tmp_path / "out" / picture) as image:
            assert image.size == (160, 160)


def test_of_sets_the_label_that_was_added_is_asked_about_then_the_one_that_was_missed(bundle_of_digits: Path) -> None:
    manifest, _ = read_manifest(bundle_of_digits)
    many = BundleManifest.model_validate({**manifest.model_dump(), "labels_per_sample": "many", "thresholds": [0.5] * len(manifest.labels)})
    assert label_to_explain("0|1", "1|2", many) == "2"
    assert label_to_explain("0|1", "1", many) == "0"
    assert label_to_explain("0", "3", manifest) == "3"


def test_a_map_is_bright_where_it_is_high() -> None:
    relevance = np.zeros((4, 4), np.float32)
    relevance[0, 0] = 1
    picture = overlay(np.full((80, 80, 3), 128, np.uint8), relevance).astype(int).sum(axis=2)
    assert picture[:10, :10].mean() > 1.5 * picture[60:, 60:].mean()
