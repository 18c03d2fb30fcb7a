"""Log-mel patches as grey pictures, for a library of images: those that Regraft makes of the same files, in 255 steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.contest.job import Stopwatch
from benchmarks.sound_transfer.job import SoundJob
from pipelines.core.modalities.audio import AudioModality, AudioPreprocess

_MODALITY = AudioModality(AudioPreprocess())
# Of YAMNet's spectrograms: silence, and a tone at full scale.
_LOW = float(np.log(_MODALITY.spec.log_mel.offset))
_HIGH = float(np.log(_MODALITY.spec.log_mel.window_samples / 2))
STD = 1 / (_HIGH - _LOW)
MEAN = -_LOW * STD


def with_pictures(job: SoundJob, folder: Path) -> SoundJob:
    """The job with pictures of all its sounds, written into the folder."""
    watch = Stopwatch()
    pictures = _made([path for path, _ in (*job.train, *job.validation)], folder)
    seconds = watch.read()
    pictures |= _made([path for path, _ in job.test], folder)
    return replace(job, pictures=pictures, pictures_seconds=seconds)


def _made(paths: Sequence[str], folder: Path) -> dict[str, list[str]]:
    return {
        path: [_written(patch[0], folder / f"{Path(path).stem}-{place}.png") for place, patch in enumerate(_patches(path))]
        for path in paths
    }


def _patches(path: str) -> np.ndarray:
    return _MODALITY.to_array(_MODALITY.decode(Path(path).read_bytes()))


def _written(patch: np.ndarray, path: Path) -> str:
    levels = np.clip((patch * STD + MEAN) * 255, 0, 255).round().astype(np.uint8)
    Image.fromarray(levels).save(path)
    return str(path)
