"""How many steps setfit takes at its defaults; standard library only, for both environments."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

BATCH_SIZE = 16


def n_steps(targets: Sequence[int]) -> int:
    """One epoch of batches of pairs, of the rarer kind as many as of the other; a text with itself is a pair of the same label."""
    n = len(targets)
    n_same = sum(count * (count + 1) // 2 for count in Counter(targets).values())
    n_different = n * (n + 1) // 2 - n_same
    return -(-2 * max(n_same, n_different) // BATCH_SIZE)
