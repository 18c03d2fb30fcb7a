"""Small image files, and samples of them, for the tests beside this file."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from pipelines.core.preprocess import ImagePreprocess
from pipelines.dataset import Sample
from pipelines.training.inputs import SampleInputs

COLOUR = ImagePreprocess(color="RGB", height_px=32, width_px=32, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


def photo(seed: int, side_px: int = 32) -> bytes:
    """A PNG of noise, another for each seed."""
    pixels = np.random.default_rng(seed).integers(0, 256, (side_px, side_px, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def photos(folder: Path, seeds: Sequence[int], preprocess: ImagePreprocess = COLOUR) -> SampleInputs:
    """A file for each seed where it is not there, and the samples of them."""
    samples = []
    for place, seed in enumerate(seeds):
        content = photo(seed)
        if not (folder / f"{seed}.png").exists():
            (folder / f"{seed}.png").write_bytes(content)
        label = "ab"[place % 2]
        samples.append(Sample(hashlib.sha256(content).hexdigest(), f"{seed}.png", label, "g", "d", "", "train"))
    return SampleInputs(samples, folder, preprocess, ("a", "b"))
