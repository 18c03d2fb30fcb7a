"""Copies that were saved, scaled or brightened are found, different pictures are not, and a slow search over all pairs agrees."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from pipelines.core.bundle import file_sha256
from pipelines.core.errors import IntegrityError
from pipelines.dataset import Sample, Split, read_samples, write_samples
from pipelines.near_duplicates import NearDuplicates, difference_limits, find_near_duplicates, read_pairs

Alteration = Callable[[Image.Image], Image.Image]


def as_jpeg(image: Image.Image, quality: int = 75) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(io.BytesIO(file.getvalue()))


ALTERATIONS: dict[str, Alteration] = {
    "jpeg": as_jpeg,
    "half": lambda image: image.resize((image.width // 2, image.height // 2), Image.Resampling.BICUBIC),
    "larger": lambda image: image.resize((image.width * 3 // 2, image.height * 3 // 2), Image.Resampling.BICUBIC),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.7),
    "contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.8),
    "crop of 1 px": lambda image: image.crop((1, 1, image.width, image.height)),
}


def scene(seed: int, side_px: int = 96) -> Image.Image:
    """Coloured clouds: smooth as photos are, and different for each seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((side_px, side_px), Image.Resampling.BICUBIC)


class Folder:
    """`data/` and samples.csv."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "data").mkdir()
        self.samples: list[Sample] = []

    def add(self, name: str, image: Image.Image, split: Split, label: str = "a") -> None:
        image.save(self.root / "data" / name)
        identity = file_sha256(self.root / "data" / name)
        self.samples.append(Sample(identity, name, label, identity, "default", "", split))

    def found(self) -> list[NearDuplicates]:
        write_samples(self.samples, self.root / "samples.csv")
        (self.root / "out").mkdir(exist_ok=True)
        find_near_duplicates(self.root / "samples.csv", self.root / "data", self.root / "out")
        return read_pairs(self.root / "out" / "near_duplicates.csv")

    def summary(self) -> dict[str, object]:
        content: dict[str, object] = json.loads((self.root / "out" / "near_duplicates.json").read_bytes())
        return content


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    made = Folder(tmp_path)
    for seed in range(120):
        made.add(f"{seed}.png", scene(seed), "train")
    return made


def test_copies_are_found_and_nothing_else(folder: Folder) -> None:
    for place, (name, alter) in enumerate(ALTERATIONS.items()):
        folder.add(f"{name}.png", alter(scene(place)), "test", label="b")
    found = folder.found()
    assert {(pair.path, pair.other_path) for pair in found} == {(f"{name}.png", f"{place}.png") for place, name in enumerate(ALTERATIONS)}
    assert all(pair.leaks and (pair.label, pair.other_label) == ("b", "a") for pair in found)
    assert [pair.difference for pair in found] == sorted(pair.difference for pair in found)
    assert folder.summary() == {"n_samples": 126, "n_test": 6, "n_pairs": 6}


def test_the_order_of_the_samples_does_not_matter(folder: Folder) -> None:
    folder.add("copy.png", as_jpeg(scene(3)), "validation")
    first = folder.found()
    folder.samples.reverse()
    assert folder.found() == first != []


def test_what_no_stage_uses_is_not_compared(folder: Folder) -> None:
    folder.add("copy.png", as_jpeg(scene(3)), "holdout")
    assert folder.found() == []
    assert folder.summary()["n_samples"] == 120


@pytest.mark.parametrize(
    ("split", "other", "leaks"), [("test", "validation", True), ("test", "test", False), ("train", "validation", False)]
)
def test_only_a_test_sample_that_is_learnt_from_leaks(tmp_path: Path, split: Split, other: Split, leaks: bool) -> None:
    folder = Folder(tmp_path)
    folder.add("a.png", scene(0), other)
    folder.add("b.png", as_jpeg(scene(0)), split)
    folder.add("c.png", scene(1), "train")
    (pair,) = folder.found()
    assert pair.leaks == leaks
    assert not leaks or pair.path == "b.png"


def test_many_copies_in_test_do_not_hide_the_one_that_is_learnt_from(folder: Folder) -> None:
    for quality in range(60, 90):
        folder.add(f"copy {quality}.png", as_jpeg(scene(7), quality), "test")
    leaking = {pair.path for pair in folder.found() if pair.leaks}
    assert leaking == {f"copy {quality}.png" for quality in range(60, 90)}


def test_flat_pictures_are_no_copies_of_each_other(folder: Folder) -> None:
    rng = np.random.default_rng(0)
    for level in (0, 100, 255):
        folder.add(f"flat {level}.png", Image.new("L", (40, 40), level), "test")
        noise = np.clip(level + rng.integers(-1, 2, (40, 40)), 0, 255).astype(np.uint8)
        folder.add(f"noise {level}.png", Image.fromarray(noise), "test")
    assert folder.found() == []


@pytest.mark.parametrize("n", [0, 1, 2])
def test_next_to_no_samples(tmp_path: Path, n: int) -> None:
    folder = Folder(tmp_path)
    for seed in range(n):
        folder.add(f"{seed}.png", scene(seed), "train")
    assert folder.found() == []


def test_a_file_that_changed_is_an_error(folder: Folder) -> None:
    scene(500).save(folder.root / "data" / "5.png")
    with pytest.raises(IntegrityError, match=r"5\.png of the data that changed since it was listed.*Next: run the command again"):
        folder.found()


def slow_pairs(thumbnails: NDArray[np.uint8]) -> set[tuple[int, int]]:
    """All pairs, by NumPy's own correlation, one after the other."""
    n = len(thumbnails)
    differences = 1 - np.corrcoef(thumbnails.reshape(n, -1).astype(np.float64))
    limits = []
    for row in range(n):
        others = sorted(differences[row, other] for other in range(min(n, 1_000)) if other != row)
        limits.append(min(max(0.05 * others[4], 0.001), 0.03))
    assert difference_limits(thumbnails) == pytest.approx(np.array(limits), abs=1e-6)
    return {(a, b) for a in range(n) for b in range(a + 1, n) if differences[a, b] <= min(limits[a], limits[b])}


def test_the_search_agrees_with_a_slow_one_over_all_pairs(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    rng = np.random.default_rng(1)
    for seed in range(60):
        folder.add(f"{seed}.png", scene(seed, 32).convert("L"), "train")
        # From next to nothing to more than counts.
        noisy = np.asarray(scene(seed, 32).convert("L")) + rng.normal(0, 0.3 * (seed + 1), (32, 32))
        folder.add(f"{seed} noisy.png", Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)), "test")
    ordered = sorted(folder.samples, key=lambda sample: sample.id)
    pixels = np.stack([np.asarray(Image.open(folder.root / "data" / sample.path)) for sample in ordered])
    expected = {frozenset((ordered[a].path, ordered[b].path)) for a, b in slow_pairs(pixels)}
    assert {frozenset((pair.path, pair.other_path)) for pair in folder.found()} == expected
    assert 20 <= len(expected) <= 58


def test_digits_of_different_people_are_no_copies(digits_folder: Path, tmp_path: Path) -> None:
    find_near_duplicates(digits_folder / "samples.csv", digits_folder / "data", tmp_path)
    assert read_pairs(tmp_path / "near_duplicates.csv") == []
    n_samples = json.loads((tmp_path / "near_duplicates.json").read_bytes())["n_samples"]
    assert n_samples == len(read_samples(digits_folder / "samples.csv")) == 240


@pytest.mark.slow
def test_no_two_of_all_1797_digits_are_copies(tmp_path: Path) -> None:
    from sklearn.datasets import load_digits

    folder = Folder(tmp_path)
    for index, pixels in enumerate(load_digits().images):
        folder.add(f"{index}.png", Image.fromarray((pixels * 255 // 16).astype(np.uint8)), "train" if index % 2 else "test")
    assert folder.found() == []


@pytest.mark.slow
@pytest.mark.shared("the copies in a real collection of photos")
def test_the_copies_among_the_flowers(tmp_path: Path, shared_dir: Path) -> None:
    """Each name that lies in two class folders is found; what else is found is listed in docs/adr/0008."""
    folder = Folder(tmp_path)
    files = sorted((shared_dir / "data" / "flowers").glob("*/*.jpg"))
    for place, file in enumerate(files):
        name = f"{file.parent.name} {file.name}"
        (tmp_path / "data" / name).write_bytes(file.read_bytes())
        folder.samples.append(Sample(file_sha256(file), name, file.parent.name, name, "default", "", "test" if place % 2 else "train"))
    found = folder.found()
    by_name: dict[str, list[str]] = {}
    for file in files:
        by_name.setdefault(file.name, []).append(f"{file.parent.name} {file.name}")
    twins = {frozenset(names) for names in by_name.values() if len(names) == 2}
    assert len(twins) == 4
    assert twins <= {frozenset((pair.path, pair.other_path)) for pair in found}
    assert 20 <= len(found) <= 30
