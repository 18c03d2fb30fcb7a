from __future__ import annotations

import io
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from PIL import Image

from pipelines.answers import read_answers
from pipelines.config.gates.on_behaviour import Corruption
from pipelines.core.bundle import file_sha256
from pipelines.core.errors import DataError
from pipelines.core.preprocess import ImagePreprocess
from pipelines.corruptions import CORRUPTIONS, corrupting, evaluate_corrupted, strength
from pipelines.dataset import Sample, write_samples
from pipelines.progress import silent

SPEC = ImagePreprocess(color="RGB", height_px=64, width_px=64, mean=(0.5,) * 3, std=(0.5,) * 3)
NAMES = tuple(CORRUPTIONS["image"])


def sample(name: str = "a") -> Sample:
    return Sample(name * 64, f"{name}.png", "cat", name, "default", "", "test")


def content(side: int = 64) -> bytes:
    """Part of a photo."""
    from sklearn.datasets import load_sample_image

    buffer = io.BytesIO()
    Image.fromarray(load_sample_image("china.jpg")).crop((0, 0, 400, 400)).resize((side, side)).save(buffer, format="PNG")
    return buffer.getvalue()


def pixels(file: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(file)) as image:
        return np.asarray(image.convert("RGB"), dtype=float)


def test_every_corruption_of_the_conf_file_is_there() -> None:
    assert set(get_args(Corruption)) == {name for of_task in CORRUPTIONS.values() for name in of_task}


@pytest.mark.parametrize(("side", "expected"), [(8, 0.04), (32, 0.04), (224, 0.08), (1000, 0.08)])
def test_strengths_are_those_published_for_32_and_224_pixels(side: int, expected: float) -> None:
    assert strength(((0.04,) * 5, (0.08,) * 5), Image.new("L", (side, side + 50)), 1) == pytest.approx(expected)


def test_strengths_between_the_sizes_lie_between() -> None:
    table = ((0.4, 0.6, 0.7, 0.8, 1.0), (1.0, 2.0, 3.0, 4.0, 6.0))
    found = [strength(table, Image.new("L", (side, side)), 3) for side in (32, 50, 100, 180, 224)]
    assert found == sorted(found)
    assert strength(table, Image.new("L", (85, 85)), 3) == pytest.approx((0.7 + 3.0) / 2, abs=0.02)  # 85 px is half way by logarithm


@pytest.mark.parametrize("name", NAMES)
def test_a_higher_severity_changes_more(name: str) -> None:
    clean = pixels(content())
    changes = [np.abs(pixels(corrupting("image", name, severity, SPEC)(sample(), content())) - clean).mean() for severity in range(1, 6)]
    assert changes == sorted(changes)
    assert changes[0] > 0.2


@pytest.mark.parametrize("name", NAMES)
def test_the_same_sample_is_always_corrupted_alike(name: str) -> None:
    first, second = (corrupting("image", name, 3, SPEC)(sample(), content()) for _ in range(2))
    assert first == second


def test_other_samples_get_other_noise() -> None:
    alter = corrupting("image", "noise", 3, SPEC)
    assert alter(sample("a"), content()) != alter(sample("b"), content())


@pytest.mark.parametrize("name", NAMES)
def test_large_pictures_are_brought_to_what_the_network_needs(name: str) -> None:
    assert pixels(corrupting("image", name, 2, SPEC)(sample(), content(500))).shape == (64, 64, 3)
    assert pixels(corrupting("image", name, 2, SPEC)(sample(), content(30))).shape == (30, 30, 3)


@pytest.mark.parametrize("name", NAMES)
def test_rubbish_is_bad_data(name: str) -> None:
    with pytest.raises(DataError, match="do not decode as an image"):
        corrupting("image", name, 2, SPEC)(sample(), b"rubbish")


def test_a_sealed_bundle_answers_under_each_corruption(sealed: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    samples = []
    for row in range(6):
        path = tmp_path / "data" / f"{row}.png"
        Image.fromarray(np.random.default_rng(row).integers(0, 256, (40, 40), dtype=np.uint8)).save(path)
        samples.append(Sample(file_sha256(path), path.name, "cat", path.name, "default", "", "test" if row < 4 else "train"))
    write_samples(samples, tmp_path / "samples.csv")
    (tmp_path / "out").mkdir()
    evaluate_corrupted(sealed, tmp_path / "samples.csv", tmp_path / "data", tmp_path / "out", ["noise", "jpeg"], 5, silent, "one")
    for name in ("noise", "jpeg"):
        assert sorted(read_answers(tmp_path / "out" / name / "predictions.csv").ids) == sorted(one.id for one in samples[:4])
    noise, jpeg = (read_answers(tmp_path / "out" / name / "predictions.csv").confidences for name in ("noise", "jpeg"))
    assert not np.array_equal(noise, jpeg)


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.pipelines.gates.conftest import build_bundle

    folder = tmp_path_factory.mktemp("sealed") / "bundle"
    build_bundle(folder)
    return folder
