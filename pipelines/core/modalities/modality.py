"""What the inference core must know of a kind of input. One adapter for each kind; the rest of the core asks it and knows none.

An adapter is made for one preprocess spec (`modality_of` in this package), and for the files that the spec refers to, a tokeniser for one.
A decoded input is the adapter's own affair: whoever holds one only hands it back.
Letters for shapes: b batch, s input statistics.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class SizeLimit:
    """How large an input of a kind may be, said of its raw bytes before they are decoded.

    Attributes:
        unit: What is counted: `pixels`, `characters`.
        most: Of the preprocess spec.
    """

    unit: str
    most: int


class Modality(Protocol):
    """Bytes to network inputs, for one kind of input and one spec. Safe to call from several threads."""

    @property
    def kind(self) -> str:
        """`image`, `text`, …: the task of the conf file and the `kind` of the spec."""

    @property
    def noun(self) -> str:
        """What one input is called in sentences: `image`, `text`."""

    @property
    def statistics(self) -> tuple[str, ...]:
        """Names of the input statistics: the columns of a bundle's reference and of the request log, in their order."""

    @property
    def size_limit(self) -> SizeLimit:
        """What `stated_size` counts, and the most of it that the spec allows."""

    def stated_size(self, data: bytes) -> int | None:
        """The size that a raw input states, without decoding it; None where it does not say."""

    def decode(self, data: bytes) -> Any:
        """Decodes one raw input.

        Raises:
            DataError: The bytes are no input of this kind, are damaged, empty or too large.
        """

    def to_array(self, decoded: Any) -> NDArray[Any]:
        """The network's input for one decoded input, without a batch dimension.

        Raises:
            DataError: As `decode`, where only this step can tell.
        """

    def input_statistics(self, decoded: Any) -> NDArray[np.float32]:
        """float32 [s], finite, in the order of `statistics`."""

    def bucket(self, array: NDArray[Any]) -> int:
        """Inputs of one number share a batch in which none of them depends on the others; 0 for kinds of one size."""

    def batch(self, arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """[b, ...]: the inputs stacked; those of different lengths are padded to the longest bucket among them."""
