from __future__ import annotations

import itertools

import numpy as np
import pytest

from pipelines.near_duplicate_texts import LEAST_JACCARD, jaccard, shingles, similar_texts
from tests.pipelines.tiny_texts import sentences


def _oracle(text: str) -> set[str]:
    folded = " ".join(text.casefold().split())
    return {folded[start : start + 5] for start in range(max(1, len(folded) - 4))}


def _texts() -> list[str]:
    texts = [text for text, _ in sentences(120, seed=3) if len(text) > 60]
    rng = np.random.default_rng(0)
    planted = [text.upper() + " !" for text in texts[:12]]
    planted += ["".join(character for place, character in enumerate(text) if place != rng.integers(len(text))) for text in texts[12:24]]
    return [*texts, *planted]


def test_the_pairs_are_those_of_all_comparisons() -> None:
    texts = _texts()
    sets = [_oracle(text) for text in texts]
    exact = {
        (one, other)
        for one, other in itertools.combinations(range(len(texts)), 2)
        if len(sets[one] & sets[other]) / len(sets[one] | sets[other]) >= LEAST_JACCARD
    }
    places, differences = similar_texts([shingles(text.encode()) for text in texts])
    found = {(int(one), int(other)) for one, other in places}
    assert len(exact) >= 20  # the planted ones
    assert found <= exact
    # Hashing misses a pair at the limit now and then, never one that is alike.
    assert len(found) >= 0.95 * len(exact)
    assert (differences <= 1 - LEAST_JACCARD + 1e-6).all()


def test_case_and_white_space_do_not_count() -> None:
    assert jaccard(shingles(b"Hello  big World"), shingles(b"hello big\nworld")) == 1
    assert shingles(b"hi") == shingles(b"HI")


@pytest.mark.parametrize("n", [0, 1])
def test_few_texts_have_no_pairs(n: int) -> None:
    places, differences = similar_texts([shingles(b"hello world")] * n)
    assert places.shape == (0, 2)
    assert differences.shape == (0,)
