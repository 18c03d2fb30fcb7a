"""Training inputs: samples as network inputs, through the inference core's own preprocessing.

Letters for shapes: n samples, b batch, c channels, h height, w width, l token ids, k labels.
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
from pipelines.core.modalities.adapters import Preprocess
from pipelines.dataset import Sample, read_sample
from pipelines.modalities.reading import Reader, reader_of

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

    def batch(self, indices: Sequence[int] | NDArray[np.int64]) -> NDArray[Any]:
        """float32 [b, ...], or int64 [b, l] of texts, of the samples at these places, in a new array; safe to call from several threads.

        l may differ from batch to batch.
        """


@dataclass
class SampleInputs:
    """Samples with their labels, decoded when first asked for; up to 1.5 GB of them are kept in memory.

    Attributes:
        labels_per_sample: `many`: a sample's label names any number of labels with | between them, or none.
        folder: Of the files that `preprocess` refers to: `SelectedBackbone.folder`.
        targets: One label a sample: int64 [n], its index. Many: float32 [n, k], 1 where the sample has the label.
    """

    samples: Sequence[Sample]
    data: Path
    preprocess: Preprocess
    labels: Sequence[str]
    labels_per_sample: Literal["one", "many"] = "one"
    folder: Path | None = None
    targets: NDArray[Any] = field(init=False)
    _reader: Reader = field(init=False, repr=False, compare=False)
    _kept: _KeptArrays = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._reader = reader_of(self.preprocess, self.folder)
        self._kept = _KeptArrays()
        named = [sample.label for sample in self.samples]
        if self.labels_per_sample == "one":
            index = {label: position for position, label in enumerate(self.labels)}
            self.targets = np.array([index[label] for label in named], dtype=np.int64)
        else:
            rows = [[label in text.split("|") for label in self.labels] for text in named]
            self.targets = np.array(rows, dtype=np.float32).reshape(len(named), len(self.labels))

    def __len__(self) -> int:
        return len(self.samples)

    def batch(self, indices: Sequence[int] | NDArray[np.int64]) -> NDArray[Any]:
        """Of the samples at these places: images float32 [b, c, h, w], in memory [b, h, w, c], torch's channels_last; texts int64 [b, l].

        Raises:
            DataError: One of the files does not decode.
            IntegrityError: One of the files changed since it was listed.
        """
        return self._reader.assemble([self._array(int(index)) for index in indices])

    def lengths(self, indices: NDArray[np.int64]) -> NDArray[np.int64] | None:
        """int64 [b], the lengths that the inputs at these places are padded to by themselves; nothing where all have one.

        Raises:
            DataError, IntegrityError: As `batch`.
        """
        if self._reader.has_one_length:
            return None
        return np.array([len(self._array(int(index))) for index in indices], dtype=np.int64)

    def _array(self, index: int) -> NDArray[Any]:
        array = self._kept.get(index)
        if array is None:
            data = read_sample(self.data, self.samples[index])
            try:
                array = self._reader.read(data)
            except DataError as error:
                raise DataError(f"{self.samples[index].path}: {error.got}", error.allowed, error.next_step) from error
            self._kept.put(index, array)
        return array


class _KeptArrays:
    """Decoded samples by their place, as many as fit into memory."""

    def __init__(self) -> None:
        self._arrays: dict[int, NDArray[Any]] = {}
        self._n_bytes = 0
        self._lock = threading.Lock()

    def get(self, index: int) -> NDArray[Any] | None:
        """Nothing where it was not kept."""
        return self._arrays.get(index)

    def put(self, index: int, array: NDArray[Any]) -> None:
        """Keeps it where it fits; two threads that decoded the same sample keep it once."""
        with self._lock:
            if index not in self._arrays and self._n_bytes + array.nbytes <= _CACHE_BYTES:
                self._arrays[index] = array
                self._n_bytes += array.nbytes
