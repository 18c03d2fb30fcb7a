from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.core.errors import DataError
from pipelines.core.preprocess import ImagePreprocess
from pipelines.image_files import ImageFile, inspect_bytes
from pipelines.progress import silent
from pipelines.siamese.images import ChosenImages, choose_images

SPEC = ImagePreprocess(color="RGB", height_px=16, width_px=16, mean=(0.5,) * 3, std=(0.5,) * 3, fit="crop", max_pixels=10_000)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """110 pictures, ten of them in two formats, and what is none."""
    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for number in range(110):
        place = root / ("a" if number % 2 else "b/c") / f"{number:03d}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(rng.integers(0, 256, size=(12, 12, 3), dtype=np.uint8))
        picture.save(place)
        if number < 10:
            picture.save(place.with_suffix(".bmp"))
    (root / "a" / "torn.jpg").write_bytes(b"\xff\xd8\xff")
    Image.new("RGB", (3000, 2)).save(root / "strip.png")
    (root / "labels.csv").write_text("path,label\n")
    (root / ".hidden").mkdir()
    shutil.copy(root / "a" / "001.png", root / ".hidden" / "other.png")
    return root


def choose(folder: Path, test_digests: frozenset[str] = frozenset(), seed: int = 0) -> ChosenImages:
    return choose_images(folder, SPEC, test_digests, seed, silent)


def test_every_file_is_accounted_for(folder: Path) -> None:
    judged = inspect_bytes((folder / "a" / "001.png").read_bytes())
    assert isinstance(judged, ImageFile)
    told: list[tuple[int, int]] = []
    chosen = choose_images(folder, SPEC, {judged.pixel_digest}, 0, lambda _, done, total: told.append((done, total)))
    counts = chosen.counts
    assert (counts.n_files, counts.n_unreadable, counts.n_of_test, counts.n_copies) == (122, 2, 2, 9)
    assert (counts.n_train, counts.n_held_out) == (93, 16)
    assert str(counts).startswith("122 images: 2 left out because they are in the workspace's test or holdout split, 9 copies, ")
    assert [finding.where for finding in chosen.unreadable] == ["a/torn.jpg", "strip.png"]
    assert "001" not in "".join(sample.path for sample in (*chosen.train, *chosen.held_out))
    assert told == [(122, 122)]


def test_names_do_not_decide_who_is_held_out(folder: Path, tmp_path: Path) -> None:
    for number, file in enumerate(sorted(folder.rglob("*.png"), reverse=True)):
        shutil.copy(file, tmp_path / f"{number}.png")
    here, there = choose(folder), choose(tmp_path)
    assert [sample.group for sample in here.held_out] == [sample.group for sample in there.held_out]
    assert [sample.group for sample in here.train] == [sample.group for sample in there.train]
    assert {sample.group for sample in here.held_out} != {sample.group for sample in choose(folder, seed=1).held_out}


def test_too_few_and_nowhere(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "a" / "torn.jpg", tmp_path)
    with pytest.raises(DataError, match=r"0 different images of 1 files.*at least 100") as raised:
        choose(tmp_path)
    assert [finding.where for finding in raised.value.findings] == ["torn.jpg"]
    with pytest.raises(DataError, match=r"--images .*nowhere, which is not there\."):
        choose(tmp_path / "nowhere")
    with pytest.raises(DataError, match="which is a file"):
        choose(tmp_path / "torn.jpg")
