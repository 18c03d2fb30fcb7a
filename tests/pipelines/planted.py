"""Small datasets with known content, and with faults planted into them."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from pipelines.config import ProjectConfig

LABELS = ("ant", "bee")


def project(labels: Sequence[str] = LABELS, **sections: object) -> ProjectConfig:
    content: dict[str, object] = {
        "project": "insects",
        "task": "image",
        "labels": list(labels),
        "data": {"min_samples_per_class": 3},
        "backbone": {"kind": "shipped"},
        "method": {"kind": "probe"},
        "gates": [{"kind": "goldens"}],
    }
    return ProjectConfig.model_validate({**content, **sections})


def picture(seed: int, size_px: tuple[int, int] = (9, 8), file_format: str = "PNG", mode: str = "RGB") -> bytes:
    """An image file whose pixels depend on the seed alone (width x height)."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size_px[1], size_px[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, file_format)
    return buffer.getvalue()


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def as_csv(rows: Sequence[Sequence[str]]) -> bytes:
    # All cells in quotes: the writer would leave a lone carriage return bare.
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows(rows)
    return text.getvalue().encode()


def write_dataset(data: Path, n_per_label: int = 8, labels: Sequence[str] = LABELS) -> None:
    """A faultless dataset: `images/LABEL_N.png` and labels.csv with path and label."""
    rows = [("path", "label")]
    for number in range(n_per_label * len(labels)):
        label = labels[number % len(labels)]
        write_files(data, {f"images/{label}_{number}.png": picture(number)})
        rows.append((f"images/{label}_{number}.png", label))
    (data / "labels.csv").write_bytes(as_csv(rows))


def add_line(data: Path, line: str) -> None:
    with (data / "labels.csv").open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def tree(folder: Path) -> dict[str, str]:
    """sha256 of every file by its relative path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


SETS = ("", "ant", "bee", "ant|bee")


def write_sets(data: Path, n_per_set: int = 6) -> None:
    """A faultless dataset of samples with any number of two labels, their cells in no one form."""
    rows = [("path", "label")]
    for number in range(n_per_set * len(SETS)):
        members = SETS[number % len(SETS)].split("|")
        write_files(data, {f"images/{number}.png": picture(number)})
        rows.append((f"images/{number}.png", " | ".join(reversed(members)) if number % 2 else "|".join(members)))
    (data / "labels.csv").write_bytes(as_csv(rows))


def project_of_sets(**sections: object) -> ProjectConfig:
    return project(labels_per_sample="many", **sections)
