"""What is done to test samples to see whether a model still knows them: by modality, each at five severities.

For images four of the corruptions of ImageNet-C and CIFAR-10-C (Hendrycks and Dietterich 2019, https://arxiv.org/abs/1903.12261): Gaussian
blur, Gaussian noise, brightness and JPEG. Their strengths are published for pictures of 224 and of 32 pixels; between those sizes ours go
by the logarithm of the short side, above 224 pixels a blur grows with the side and the rest stays, below 32 all stay. A picture is first
shrunk to what the network needs, so that a strength means the same whatever the camera's resolution.

For texts typos of the keyboard, characters left out, words in other case, and blanks doubled or left out. A published scale of severities
does not exist; ours are shares of what is changed, from what is hardly noticed to what takes an effort to read (typing without care has 2
to 3 % of wrong keys: Dhakal et al. 2018, https://doi.org/10.1145/3173574.3174220).

For sounds white noise (by the ratio of signal and noise, as in speech corpora such as Aurora: 20 to 0 dB), a lower gain, and a low-pass
filter that leaves from a half to an eighth of the frequencies.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipelines.core.bundle import read_manifest
from pipelines.core.label_sets import LabelsPerSample
from pipelines.core.modalities.adapters import Preprocess
from pipelines.core.preprocess import ImagePreprocess
from pipelines.core.sound_files import Sound, read_sound
from pipelines.dataset import Sample
from pipelines.evaluate import Alter, evaluate
from pipelines.image_alterations import blurred, brightened, jpeg, opened, png, shrunk, with_noise
from pipelines.progress import Progress
from pipelines.sound_alterations import muffled, quieter, with_sound_noise
from pipelines.text_alterations import as_text, with_deletions, with_other_case, with_other_spaces, with_typos

# (content, spec, severity 1 to 5, randomness of this sample) -> another file, or text.
Corruption = Callable[[bytes, Any, int, np.random.Generator], bytes]

_SMALL_PX, _LARGE_PX = 32, 224
# By severity, for pictures of 32 and of 224 pixels.
_BLUR_SIGMA_PX = ((0.4, 0.6, 0.7, 0.8, 1.0), (1.0, 2.0, 3.0, 4.0, 6.0))
_NOISE_DEVIATION = ((0.04, 0.06, 0.08, 0.09, 0.1), (0.08, 0.12, 0.18, 0.26, 0.38))
_BRIGHTNESS_SHIFT = ((0.05, 0.1, 0.15, 0.2, 0.3), (0.1, 0.2, 0.3, 0.4, 0.5))
_JPEG_QUALITY = ((80, 65, 58, 50, 40), (25, 18, 15, 10, 7))


def strength(table: tuple[Sequence[float], Sequence[float]], image: Image.Image, severity: int) -> float:
    """What a table says for a picture of this size.

    Args:
        table: By severity, for a short side of 32 and of 224 pixels.
        image: Its short side counts.
        severity: 1 to 5.
    """
    small, large = (values[severity - 1] for values in table)
    share = math.log(min(image.size) / _SMALL_PX) / math.log(_LARGE_PX / _SMALL_PX)
    return small + min(max(share, 0.0), 1.0) * (large - small)


def _blur(content: bytes, spec: ImagePreprocess, severity: int, rng: np.random.Generator) -> bytes:
    image = shrunk(opened(content, spec), spec)
    beyond = max(1.0, min(image.size) / _LARGE_PX)
    return png(blurred(image, strength(_BLUR_SIGMA_PX, image, severity) * beyond))


def _noise(content: bytes, spec: ImagePreprocess, severity: int, rng: np.random.Generator) -> bytes:
    image = shrunk(opened(content, spec), spec)
    return png(with_noise(image, strength(_NOISE_DEVIATION, image, severity), rng))


def _brightness(content: bytes, spec: ImagePreprocess, severity: int, rng: np.random.Generator) -> bytes:
    image = shrunk(opened(content, spec), spec)
    return png(brightened(image, strength(_BRIGHTNESS_SHIFT, image, severity)))


def _jpeg(content: bytes, spec: ImagePreprocess, severity: int, rng: np.random.Generator) -> bytes:
    image = shrunk(opened(content, spec), spec)
    return jpeg(image, round(strength(_JPEG_QUALITY, image, severity)))


# By severity: the share of characters, of words, or of blanks.
_TYPO_FRAC = (0.01, 0.03, 0.06, 0.1, 0.15)
_DELETED_FRAC = (0.01, 0.02, 0.04, 0.07, 0.12)
_OTHER_CASE_FRAC = (0.1, 0.25, 0.5, 0.75, 1.0)
_OTHER_SPACES_FRAC = (0.02, 0.05, 0.1, 0.2, 0.3)
_SIGNAL_TO_NOISE_DB = (20.0, 15.0, 10.0, 5.0, 0.0)
_QUIETER_DB = (6.0, 12.0, 18.0, 24.0, 30.0)
_LOW_PASS_NYQUIST_FRAC = (0.5, 0.35, 0.25, 0.18, 0.125)


def _of_text(alter: Callable[[str, float, np.random.Generator], str], shares: Sequence[float]) -> Corruption:
    def corruption(content: bytes, spec: Any, severity: int, rng: np.random.Generator) -> bytes:
        return alter(as_text(content), shares[severity - 1], rng).encode()

    return corruption


def _of_sound(alter: Callable[[Sound, float, np.random.Generator], bytes], strengths: Sequence[float]) -> Corruption:
    def corruption(content: bytes, spec: Any, severity: int, rng: np.random.Generator) -> bytes:
        return alter(read_sound(content), strengths[severity - 1], rng)

    return corruption


CORRUPTIONS: Mapping[str, Mapping[str, Corruption]] = {
    "image": {"blur": _blur, "noise": _noise, "brightness": _brightness, "jpeg": _jpeg},
    "text": {
        "typos": _of_text(with_typos, _TYPO_FRAC),
        "deletions": _of_text(with_deletions, _DELETED_FRAC),
        "case": _of_text(with_other_case, _OTHER_CASE_FRAC),
        "spaces": _of_text(with_other_spaces, _OTHER_SPACES_FRAC),
    },
    "audio": {
        "noise": _of_sound(with_sound_noise, _SIGNAL_TO_NOISE_DB),
        "gain": _of_sound(quieter, _QUIETER_DB),
        "low_pass": _of_sound(muffled, _LOW_PASS_NYQUIST_FRAC),
    },
}


def corrupting(task: str, name: str, severity: int, spec: Preprocess) -> Alter:
    """A corruption as `evaluate` takes it; the same sample always gets the same noise."""
    corruption = CORRUPTIONS[task][name]

    def alter(sample: Sample, content: bytes) -> bytes:
        digest = hashlib.sha256(f"{name} {sample.id}".encode()).digest()
        return corruption(content, spec, severity, np.random.default_rng(int.from_bytes(digest[:8], "big")))

    return alter


def evaluate_corrupted(
    bundle: Path,
    samples: Path,
    data: Path,
    out: Path,
    corruptions: Sequence[str],
    severity: int,
    progress: Progress,
    labels_per_sample: LabelsPerSample,
) -> None:
    """Evaluates a sealed bundle on the test split under each corruption; into `out/CORRUPTION/`, as `evaluate` writes.

    Args:
        bundle: A sealed bundle.
        samples: `samples.csv` with splits.
        data: The folder that sample paths are relative to.
        out: Empty directory.
        corruptions: Names of `CORRUPTIONS` for the bundle's task.
        severity: 1 to 5.
        progress: Told after every chunk.
        labels_per_sample: Of the samples.
    """
    manifest, _ = read_manifest(bundle)
    for name in corruptions:
        (out / name).mkdir()
        alter = corrupting(manifest.task, name, severity, manifest.preprocess)
        evaluate(bundle, samples, data, out / name, progress, labels_per_sample, alter)
