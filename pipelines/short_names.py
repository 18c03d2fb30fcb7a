"""Sets of many sha256 names in little memory: 8 bytes each."""

from __future__ import annotations

import os
import re
from array import array
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_N_DIGITS = 16
_DIGITS = re.compile("[0-9a-f]{64}")


def short_name(digits: str) -> int:
    """The first 8 bytes of a name of hexadecimal digits: of a million names two are alike with a chance of 3 in 100 million."""
    return int(digits[:_N_DIGITS], 16)


class ShortNames:
    """Names that are collected; each may come more than once."""

    def __init__(self) -> None:
        self._names = array("Q")

    def add(self, name: int) -> None:
        """Adds a short name."""
        self._names.append(name)

    def distinct(self) -> NDArray[np.uint64]:
        """Each once, sorted."""
        return np.unique(np.frombuffer(self._names, dtype=np.uint64)) if self._names else np.empty(0, dtype=np.uint64)


def names_in(folder: Path) -> NDArray[np.uint64]:
    """The short names of the files that are named by a sha256, each once, sorted; none where there is no folder."""
    if not folder.is_dir():
        return np.empty(0, dtype=np.uint64)
    with os.scandir(folder) as entries:
        # Among them are unfinished files, and whatever somebody put there.
        return np.unique(np.fromiter((short_name(entry.name) for entry in entries if _DIGITS.fullmatch(entry.name)), dtype=np.uint64))


def holds(sorted_names: NDArray[np.uint64], name: int) -> bool:
    """Whether a name is among sorted ones."""
    place = int(np.searchsorted(sorted_names, np.uint64(name)))
    return place < len(sorted_names) and int(sorted_names[place]) == name
