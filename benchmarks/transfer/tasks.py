"""The datasets: real images as files, and draws of a few labels a class from them, the same for every contender."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.contest.processes import ROOT
from benchmarks.contest.splits import Rows, drawn, labels_of
from benchmarks.transfer.job import Job, Weights

SHARED = ROOT.parent / "shared"
N_VALIDATION_PER_CLASS = 20
N_TEST_MAX = 600


@dataclass(frozen=True)
class Dataset:
    """A dataset with the backbone that suits it.

    Attributes:
        rows: Makes the list of absolute path and label.
        backbone: The one that suits it.
        labels_per_class: Draws of the benchmark.
        n_validation: For each class.
    """

    name: str
    rows: Callable[[Path], Rows]
    backbone: Callable[[], Weights]
    labels_per_class: tuple[int, ...]
    flips: bool
    n_validation: int = N_VALIDATION_PER_CLASS


def flowers(folder: Path) -> Rows:
    # Identical files lie in two classes: their label is unknown.
    rows = _class_folders([SHARED / "data" / "flowers"])
    seen: dict[bytes, int] = {}
    for path, _ in rows:
        content = Path(path).read_bytes()
        seen[content] = seen.get(content, 0) + 1
    return [row for row in rows if seen[Path(row[0]).read_bytes()] == 1]


def hymenoptera(folder: Path) -> Rows:
    return _class_folders([SHARED / "data" / "hymenoptera" / part for part in ("train", "val")])


def _class_folders(roots: list[Path]) -> Rows:
    return [
        (str(path), folder.name)
        for root in roots
        for folder in sorted(root.iterdir())
        if folder.is_dir()
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in (".jpg", ".jpeg", ".png")
    ]


def mnist(folder: Path) -> Rows:
    return _digits("mnist_6k", folder)


def usps(folder: Path) -> Rows:
    return _digits("usps", folder)


def _digits(name: str, folder: Path) -> Rows:
    with np.load(SHARED / "data" / f"{name}.npz", allow_pickle=False) as arrays:
        images, labels = arrays["train_images"], arrays["train_labels"]
    return [
        (_png(image, folder / f"{number:05d}.png"), str(label)) for number, (image, label) in enumerate(zip(images, labels, strict=True))
    ]


def aramaic(folder: Path) -> Rows:
    """Omniglot's Early Aramaic, which the shipped backbone never saw; black ink is turned to white as on its card."""
    rows: Rows = []
    with zipfile.ZipFile(SHARED / "data" / "omniglot_small1.zip") as archive:
        for name in sorted(entry for entry in archive.namelist() if "/Early_Aramaic/" in entry and entry.endswith(".png")):
            image = 255 - np.asarray(Image.open(io.BytesIO(archive.read(name))).convert("L"))
            rows.append((_png(image, folder / name.replace("/", "_")), name.split("/")[2]))
    return rows


def _png(image: NDArray[np.uint8], path: Path) -> str:
    Image.fromarray(image).save(path)
    return str(path)


def mobilenet() -> Weights:
    """ImageNet weights; TensorFlow's padding, and 128 px because the flowers have no more."""
    path = SHARED / "weights" / "mobilenetv2_100.coral_qat_in1k.safetensors"
    return Weights(
        architecture="mobilenetv2_100",
        model_args={"pad_type": "same"},
        in_channels=3,
        weights=str(path),
        mean=[0.5] * 3,
        std=[0.5] * 3,
        side_px=128,
    )


def shipped() -> Weights:
    """The backbone of the project, made of other alphabets of Omniglot."""
    folder = ROOT / "backbones" / "omniglot_resnet"
    card = json.loads((folder / "card.json").read_text())
    spec, preprocess = card["spec"], card["preprocess"]
    return Weights(
        architecture=spec["name"],
        model_args=spec["model_args"],
        in_channels=spec["in_channels"],
        weights=str(folder / "weights.safetensors"),
        mean=preprocess["mean"],
        std=preprocess["std"],
        side_px=preprocess["height_px"],
    )


# What takes least time first.
DATASETS = (
    Dataset("omniglot_aramaic", aramaic, shipped, (10,), flips=False, n_validation=4),
    Dataset("usps", usps, shipped, (10, 30, 100), flips=False),
    Dataset("mnist", mnist, shipped, (10, 30, 100), flips=False),
    Dataset("hymenoptera", hymenoptera, mobilenet, (10, 30, 100), flips=True),
    Dataset("flowers", flowers, mobilenet, (10, 30, 100), flips=True),
)


def draw(dataset: Dataset, rows: Rows, labels_per_class: int, seed: int, budget_seconds: float, n_threads: int = 2) -> Job:
    """A draw by the seed: `labels_per_class` to learn from, some to choose by, the rest (at most 600) to judge by."""
    labels = labels_of(rows)
    parts = drawn(rows, labels_per_class, dataset.n_validation, N_TEST_MAX // len(labels), seed)
    return Job(
        labels=labels,
        train=parts["train"],
        validation=parts["validation"],
        test=parts["test"],
        **asdict(dataset.backbone()),
        seed=seed,
        n_threads=n_threads,
        flips=dataset.flips,
        budget_seconds=budget_seconds,
    )
