"""The demo's data: the 1,797 handwritten digits that scikit-learn ships, written as a dataset of Regraft.

Test set of https://archive.ics.uci.edu/dataset/80 (CC BY 4.0), 8 x 8 pixels with 17 grey levels. The files are the same, byte for
byte, wherever they are made, so that `data.dvc` can state their digest.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pipelines.core.errors import ConfigurationError
from pipelines.grey_png import grey_png
from pipelines.split import unit_hash
from pipelines.staging import is_vacant, staged_folder

DOMAIN = "scanner-a"
HOLDOUT_FRAC = 0.36
_SALT = "digits"
_BRIGHTEST = 16


def materialise_digits(target: Path) -> None:
    """Writes `labels.csv` and `images/digit_NNNN_LABEL.png`: white strokes on black, 8 x 8 pixels.

    36 % of the digits, chosen by hash, are `holdout`: no stage uses them, so that a demonstration has traffic no model has seen.

    Raises:
        ConfigurationError: `target` holds something else already.
    """
    files = digit_files()
    if is_vacant(target):
        with staged_folder(target) as staging:
            (staging / "images").mkdir()
            for name, content in files.items():
                (staging / name).write_bytes(content)
    elif not _holds_exactly(target, files):
        raise ConfigurationError(
            got=f"the folder {target}, which holds other files than the sample data.",
            allowed="a new or empty folder, or one with exactly these files.",
            next_step="choose another folder, or move the files away.",
        )


def digit_files() -> dict[str, bytes]:
    """All files of the dataset by their name relative to it."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    files: dict[str, bytes] = {}
    rows = [("path", "label", "domain", "split")]
    for index, (image, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        name = f"images/digit_{index:04d}_{label}.png"
        files[name] = grey_png((image.astype(np.int64) * 255 // _BRIGHTEST).astype(np.uint8))
        split = "holdout" if unit_hash(str(index), _SALT) < HOLDOUT_FRAC else ""
        rows.append((name, str(label), DOMAIN, split))
    return {**files, "labels.csv": _as_csv(rows)}


def _as_csv(rows: list[tuple[str, str, str, str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _holds_exactly(folder: Path, files: Mapping[str, bytes]) -> bool:
    # Names first: the folder may be anything, and as large as anything.
    if not folder.is_dir() or any(path.is_file() and path.relative_to(folder).as_posix() not in files for path in folder.rglob("*")):
        return False
    return all((folder / name).is_file() and (folder / name).read_bytes() == content for name, content in files.items())
