"""Training inputs: sample files as normalised tensors, through the inference core's own preprocessing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipelines.core.preprocess import ImagePreprocess, decode_image, image_to_array
from pipelines.dataset import Sample, read_sample

# Decoding costs more than the forward pass of a small backbone, so what fits is kept: 1.5 GB holds 2,600 images of 3 x 224 x 224.
_CACHE_BYTES = 1_500_000_000


@dataclass
class SampleInputs:
    """Samples with their labels, decoded when first asked for and kept while they fit into memory.

    Letters for shapes: n samples, b batch, c channels, h height, w width.

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
    _kept: dict[int, NDArray[np.float32]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
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
        """float32 [b, c, h, w] of the samples at these places.

        Raises:
            DataError: One of the files does not decode.
            IntegrityError: One of the files changed since it was listed.
        """
        return np.stack([self._array(int(index)) for index in indices])

    def batches(self, size: int) -> Iterator[NDArray[np.float32]]:
        """All samples in order, `size` at a time."""
        for start in range(0, len(self), size):
            yield self.batch(range(start, min(start + size, len(self))))

    def _array(self, index: int) -> NDArray[np.float32]:
        if index in self._kept:
            return self._kept[index]
        data = read_sample(self.data, self.samples[index])
        array = image_to_array(decode_image(data, self.preprocess), self.preprocess)
        if (len(self._kept) + 1) * array.nbytes <= _CACHE_BYTES:
            self._kept[index] = array
        return array
