"""Training inputs: sample files as normalised tensors, through the inference core's own preprocessing.

Letters for shapes: n samples, b batch, c channels, h height, w width, k labels.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from pipelines.core.errors import DataError
from pipelines.core.preprocess import ImagePreprocess, decode_image, image_to_pixels, normalise
from pipelines.dataset import Sample, read_sample

# Every epoch would decode them again. 1.5 GB holds 10,000 images of 224 x 224 x 3 bytes.
_CACHE_BYTES = 1_500_000_000


class BatchSource(Protocol):
    """Samples that a network can be fed with, by their places: files, or activations of them.

    Attributes:
        targets: One label a sample: int64 [n], its index. Many: float32 [n, k], 1 where the sample has the label.
    """

    @property
    def samples(self) -> Sequence[Sample]:
        """All n samples in their order."""

    @property
    def targets(self) -> NDArray[Any]:
        """What is to be learnt of them."""

    def __len__(self) -> int:
        """N."""

    def batch(self, indices: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float32]:
        """float32 [b, ...] of the samples at these places, in a new array; safe to call from several threads."""


@dataclass
class SampleInputs:
    """Samples with their labels, decoded when first asked for; up to 1.5 GB of them are kept in memory.

    Attributes:
        labels_per_sample: `many`: a sample's label names any number of labels with | between them, or none.
        targets: One label a sample: int64 [n], its index. Many: float32 [n, k], 1 where the sample has the label.
    """

    samples: Sequence[Sample]
    data: Path
    preprocess: ImagePreprocess
    labels: Sequence[str]
    labels_per_sample: Literal["one", "many"] = "one"
    targets: NDArray[Any] = field(init=False)
    _kept: _KeptPixels = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._kept = _KeptPixels()
        named = [sample.label for sample in self.samples]
        if self.labels_per_sample == "one":
            index = {label: position for position, label in enumerate(self.labels)}
            self.targets = np.array([index[label] for label in named], dtype=np.int64)
        else:
            rows = [[label in text.split("|") for label in self.labels] for text in named]
            self.targets = np.array(rows, dtype=np.float32).reshape(len(named), len(self.labels))

    def __len__(self) -> int:
        return len(self.samples)

    def batch(self, indices: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float32]:
        """float32 [b, c, h, w] of the samples at these places, in memory [b, h, w, c]: torch's channels_last.

        Raises:
            DataError: One of the files does not decode.
            IntegrityError: One of the files changed since it was listed.
        """
        spec = self.preprocess
        array = np.empty((len(indices), spec.height_px, spec.width_px, spec.n_channels), np.float32)
        for place, index in enumerate(indices):
            normalise(self._pixels(int(index)), spec, out=array[place])
        return array.transpose(0, 3, 1, 2)

    def _pixels(self, index: int) -> NDArray[np.uint8]:
        pixels = self._kept.get(index)
        if pixels is None:
            data = read_sample(self.data, self.samples[index])
            try:
                pixels = image_to_pixels(decode_image(data, self.preprocess), self.preprocess)
            except DataError as error:
                raise DataError(f"{self.samples[index].path}: {error.got}", error.allowed, error.next_step) from error
            self._kept.put(index, pixels)
        return pixels


class _KeptPixels:
    """Decoded images by their place, as many as fit into memory; as bytes they take a quarter of what the normalised ones do."""

    def __init__(self) -> None:
        self._pixels: dict[int, NDArray[np.uint8]] = {}
        self._n_bytes = 0
        self._lock = threading.Lock()

    def get(self, index: int) -> NDArray[np.uint8] | None:
        """Nothing where it was not kept."""
        return self._pixels.get(index)

    def put(self, index: int, pixels: NDArray[np.uint8]) -> None:
        """Keeps it where it fits; two threads that decoded the same image keep it once."""
        with self._lock:
            if index not in self._pixels and self._n_bytes + pixels.nbytes <= _CACHE_BYTES:
                self._pixels[index] = pixels
                self._n_bytes += pixels.nbytes
