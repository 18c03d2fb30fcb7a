"""A workspace of real digits, small enough to be trained on again and again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from pipelines.workspace import Workspace
from tests.end_to_end.test_retrain import regraft


def two_digits_workspace(root: Path, name: str = "workspace") -> Workspace:
    """Makes a project of 300 zeros and ones in `root/name`, with the conf file that `regraft init` writes."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    for index in np.flatnonzero(digits.target < 2)[:300]:
        folder = root / "source" / f"digit {digits.target[index]}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray((digits.images[index] * 255 // 16).astype(np.uint8)).save(folder / f"{index}.png")
    regraft("init", str(root / name), "--from", str(root / "source"))
    return Workspace(root / name)
