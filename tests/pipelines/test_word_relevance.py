"""Erasure against a model whose log odds are a sum over words, so that what each word says is known."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pipelines.core.errors import DataError
from pipelines.core.modalities.text import decode_text
from pipelines.excerpts import MOST_CHARACTERS
from pipelines.word_relevance import word_relevance

WEIGHTS = {"great": 2.0, "good": 1.0, "dull": -3.0}


class SumOfWords:
    """Answers [bad, good]."""

    modality = SimpleNamespace(decode=lambda data: SimpleNamespace(text=decode_text(data, 200_000)))

    def __init__(self) -> None:
        self.n_asked = 0

    def predict(self, texts: list[bytes]) -> Any:
        self.n_asked += len(texts)
        odds = np.array([sum(WEIGHTS.get(word, 0.0) for word in self.modality.decode(text).text.split()) for text in texts])
        good = 1 / (1 + np.exp(-odds))
        return SimpleNamespace(probabilities=np.stack([1 - good, good], axis=1))


def asked(text: str, place: int) -> Any:
    return word_relevance(SumOfWords(), text.encode(), place)  # type: ignore[arg-type]


def test_each_word_has_what_the_model_gives_it() -> None:
    found = asked("a great and good but dull story", 1)
    assert found.words == ("a", "great", "and", "good", "but", "dull", "story")
    assert found.relevance == (0.0, 1.0, 0.0, 0.5, 0.0, 0.0, 0.0)
    assert found.is_whole
    assert asked("a great and good but dull story", 0).relevance == (0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def test_nothing_that_speaks_for_it_is_all_zero() -> None:
    assert asked("a story of books", 1).relevance == (0.0,) * 4


def test_a_single_word_cannot_be_left_out() -> None:
    assert asked("great", 1) == asked(" great\n", 1)
    assert asked("great", 1).relevance == (0.0,)


def test_a_word_without_which_nothing_can_be_read_counts_nothing() -> None:
    assert asked("great \u200b", 1).relevance == (0.0, 0.0)


def test_of_a_long_text_the_beginning_is_asked_about_with_all_the_rest_in_place() -> None:
    model = SumOfWords()
    found = word_relevance(model, ("great " + "word " * 10_000).encode(), 1)  # type: ignore[arg-type]
    assert not found.is_whole
    assert len(found.words) == len(found.relevance) < 60
    assert found.relevance[0] == 1.0
    assert model.n_asked == len(found.words) + 1


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(DataError, match="not UTF-8"):
        word_relevance(SumOfWords(), b"\xff", 0)  # type: ignore[arg-type]


def test_a_word_is_no_longer_than_the_excerpt() -> None:
    found = asked("x" * 100_000, 1)
    assert (found.words, found.relevance, found.is_whole) == (("x" * MOST_CHARACTERS,), (0.0,), False)
    found = asked("great " + "x" * 100_000 + " dull", 1)
    assert found.words == ("great", "x" * (MOST_CHARACTERS - len("great ")))
    assert (found.relevance, found.is_whole) == ((1.0, 0.0), False)


@pytest.mark.parametrize("text", ["great …", "a great…", "… great"])
def test_a_text_that_ends_with_the_sign_for_what_follows_is_whole(text: str) -> None:
    found = asked(text, 1)
    assert (found.words, found.is_whole) == (tuple(text.split()), True)
