from __future__ import annotations

import hashlib
import io
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from pipelines.core.errors import ConfigurationError
from pipelines.sample_data import digit_files, materialise_digits
from tests.pipelines.planted import tree


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("sample") / "data"
    materialise_digits(target)
    return target


def test_pictures_are_those_of_scikit_learn(data: Path) -> None:
    digits = load_digits()
    labels = pd.read_csv(data / "labels.csv", dtype=str, keep_default_na=False)
    assert len(labels) == 1797
    for row, image, label in zip(labels.itertuples(), digits.images, digits.target, strict=True):
        pixels = np.asarray(Image.open(data / row.path))
        np.testing.assert_array_equal(pixels, np.floor(image * 255 / 16))
        assert row.label == str(label)
    assert set(labels["domain"]) == {"scanner-a"}


def test_about_36_percent_are_held_out_in_every_class(data: Path) -> None:
    labels = pd.read_csv(data / "labels.csv", dtype=str, keep_default_na=False)
    held_out = labels["split"] == "holdout"
    assert set(labels["split"]) == {"", "holdout"}
    assert abs(held_out.sum() - 0.36 * 1797) < 3 * math.sqrt(1797 * 0.36 * 0.64)
    assert held_out.groupby(labels["label"]).mean().between(0.2, 0.5).all()


def test_bytes_are_pinned() -> None:
    """data.dvc states the digest of exactly these bytes."""
    digest = hashlib.sha256(
        json.dumps({name: hashlib.sha256(content).hexdigest() for name, content in sorted(digit_files().items())}).encode()
    )
    assert digest.hexdigest() == "bbe66f4d0533954393202ce067ffe7ba6f287cb7cccf23f7165816a4da22c587"


def test_twice_is_the_same(data: Path) -> None:
    before = tree(data)
    materialise_digits(data)
    assert tree(data) == before


@pytest.mark.parametrize(("name", "content"), [("labels.csv", "path,label\n"), ("labels.csv", None), ("images/mine.txt", "x")])
def test_other_content_is_refused_and_kept(data: Path, name: str, content: str | None) -> None:
    original = (data / name).read_bytes() if (data / name).exists() else None
    (data / name).unlink() if content is None else (data / name).write_text(content)
    before = tree(data)
    with pytest.raises(ConfigurationError, match=r"which holds other files than the sample data.*choose another folder"):
        materialise_digits(data)
    assert tree(data) == before
    (data / name).unlink() if original is None else (data / name).write_bytes(original)


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("x")
    with pytest.raises(ConfigurationError, match="holds other files"):
        materialise_digits(tmp_path / "data")


def test_the_digits_decode_as_they_are(data: Path) -> None:
    content = (data / "images" / "digit_0000_0.png").read_bytes()
    image = Image.open(io.BytesIO(content))
    assert (image.mode, image.size) == ("L", (8, 8))
