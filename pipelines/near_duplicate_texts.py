"""Texts that say the same in other words: copied with an addition, corrected, quoted; as pictures in `pipelines.near_duplicates`.

Two texts are compared by the Jaccard index of their sets of five characters in a row, in folded case and with single blanks: it needs no
words, so it serves languages without blanks too. Which pairs to compare, locality-sensitive hashing of MinHash sketches says (Broder 1997,
https://doi.org/10.1109/SEQUEN.1997.666900, by the library datasketch); the index itself is then computed exactly.
"""

from __future__ import annotations

import unicodedata
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_N_SHINGLE_CHARACTERS = 5
_N_MOST_SHINGLES = 20_000
# The index of near-duplicates: that which deduplications of large collections take (Lee et al. 2021, https://arxiv.org/abs/2107.06499).
LEAST_JACCARD = 0.8
# A sketch's own index scatters by 0.035 around the true one: searched with a margin of three of these.
_SEARCHED_JACCARD = 0.7
_N_PERMUTATIONS = 128
_SEED = 1


def shingles(content: bytes) -> frozenset[int]:
    """Hashes of the runs of five characters in a text, of the first 20,000 of them; of a shorter text, of it as a whole."""
    text = " ".join(unicodedata.normalize("NFKC", content.decode("utf-8", "replace")).casefold().split())
    n_starts = max(1, min(len(text) - _N_SHINGLE_CHARACTERS + 1, _N_MOST_SHINGLES))
    return frozenset(zlib.crc32(text[start : start + _N_SHINGLE_CHARACTERS].encode()) for start in range(n_starts))


def similar_texts(sets: Sequence[frozenset[int]]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The pairs of texts whose sets have a Jaccard index of 0.8 at least.

    Args:
        sets: Of `shingles`.

    Returns:
        Places [p, 2], the smaller first, in order, and differences [p]: 1 - index.
    """
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(threshold=_SEARCHED_JACCARD, num_perm=_N_PERMUTATIONS)
    pairs: list[tuple[int, int]] = []
    differences: list[float] = []
    empty = MinHash(num_perm=_N_PERMUTATIONS, seed=_SEED, hashfunc=int)
    for place, one in enumerate(sets):
        sketch = empty.copy()
        sketch.update_batch(sorted(one))
        for other in sorted(index.query(sketch)):
            if (found := jaccard(one, sets[other])) >= LEAST_JACCARD:
                pairs.append((other, place))
                differences.append(1 - found)
        index.insert(place, sketch)
    order = sorted(range(len(pairs)), key=pairs.__getitem__)
    places = np.array([pairs[row] for row in order], dtype=np.int64).reshape(-1, 2)
    return places, np.array([differences[row] for row in order], dtype=np.float32)


def jaccard(one: frozenset[int], other: frozenset[int]) -> float:
    """Size of what both have by the size of what either has."""
    return len(one & other) / len(one | other)
