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
# 25 bands of 5: a pair is compared with a chance of 1 - (1 - J^5)^25, which is 0.99995 at an index of 0.8.
_BANDS_AND_ROWS = (25, 5)
_N_PERMUTATIONS = 128
# A text that thousands resemble, as made from a template, is paired with so many of them: with the number of pairs grows what is kept.
_MOST_NEIGHBOURS = 16
_SEED = 1


def shingles(content: bytes) -> frozenset[int]:
    """Hashes of the runs of five characters in a text, of the first 20,000 of them; of a shorter text, of it as a whole."""
    text = " ".join(unicodedata.normalize("NFKC", content.decode("utf-8", "replace")).casefold().split())
    n_starts = max(1, min(len(text) - _N_SHINGLE_CHARACTERS + 1, _N_MOST_SHINGLES))
    return frozenset(zlib.crc32(text[start : start + _N_SHINGLE_CHARACTERS].encode()) for start in range(n_starts))


def similar_texts(sets: Sequence[frozenset[int]]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The pairs of texts whose sets have a Jaccard index of 0.8 at least; of each text with at most 16 of those before it, the latest.

    So every text that resembles another is in a pair.

    Args:
        sets: Of `shingles`.

    Returns:
        Places [p, 2], the smaller first, in order, and differences [p]: 1 - index.
    """
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(num_perm=_N_PERMUTATIONS, params=_BANDS_AND_ROWS)
    pairs: list[tuple[int, int]] = []
    differences: list[float] = []
    empty = MinHash(num_perm=_N_PERMUTATIONS, seed=_SEED, hashfunc=int)
    for place, one in enumerate(sets):
        sketch = empty.copy()
        sketch.update_batch(sorted(one))
        n_found = 0
        for other in sorted(index.query(sketch), reverse=True):
            if n_found == _MOST_NEIGHBOURS:
                break
            if (found := jaccard(one, sets[other])) >= LEAST_JACCARD:
                pairs.append((other, place))
                differences.append(1 - found)
                n_found += 1
        index.insert(place, sketch)
    order = sorted(range(len(pairs)), key=pairs.__getitem__)
    places = np.array([pairs[row] for row in order], dtype=np.int64).reshape(-1, 2)
    return places, np.array([differences[row] for row in order], dtype=np.float32)


def jaccard(one: frozenset[int], other: frozenset[int]) -> float:
    """Size of what both have by the size of what either has."""
    return len(one & other) / len(one | other)
