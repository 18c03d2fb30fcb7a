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
    assert found == exact
    assert (differences <= 1 - LEAST_JACCARD + 1e-6).all()


def test_pairs_at_the_very_limit_are_found() -> None:
    """400 pairs of sets with an index of 0.8: 80 numbers of 100 in both."""
    rng = np.random.default_rng(0)
    sets = []
    for _ in range(400):
        numbers = [int(number) for number in rng.choice(2**32, 100, replace=False)]
        sets += [frozenset(numbers[:90]), frozenset(numbers[10:])]
    assert jaccard(sets[0], sets[1]) == pytest.approx(0.8)
    places, _ = similar_texts(sets)
    assert len(places) >= 398


def test_texts_from_one_template_have_few_pairs_each() -> None:
    texts = [f"Dear customer, your order number {number} has been sent today and will reach you soon." for number in range(200)]
    places, _ = similar_texts([shingles(text.encode()) for text in texts])
    assert set(places.ravel().tolist()) == set(range(200))
    assert len(places) <= 16 * 200


def test_case_and_white_space_do_not_count() -> None:
    assert jaccard(shingles(b"Hello  big World"), shingles(b"hello big\nworld")) == 1
    assert shingles(b"hi") == shingles(b"HI")


@pytest.mark.parametrize("n", [0, 1])
def test_few_texts_have_no_pairs(n: int) -> None:
    places, differences = similar_texts([shingles(b"hello world")] * n)
    assert places.shape == (0, 2)
    assert differences.shape == (0,)
