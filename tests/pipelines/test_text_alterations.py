from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.config.tasks import CORRUPTIONS as NAMES
from pipelines.core.modalities.text import TextPreprocess, has_something_to_read
from pipelines.corruptions import CORRUPTIONS, corrupting
from pipelines.dataset import Sample
from pipelines.text_alterations import _NEIGHBOURS, with_deletions, with_other_case, with_other_spaces, with_typos

SPEC = TextPreprocess(tokenizer_sha256="0" * 64, max_tokens=16)
Alter = Callable[[str, float, np.random.Generator], str]
ALL: list[Alter] = [with_typos, with_deletions, with_other_case, with_other_spaces]
TEXT = "The quick brown fox jumps over the lazy dog. " * 40


@given(st.text(min_size=1), st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_something_to_read_is_left_of_every_text(text: str, share: float, seed: int) -> None:
    for alter in ALL:
        changed = alter(text, share, np.random.default_rng(seed))
        assert has_something_to_read(changed) == has_something_to_read(text) or alter is with_other_case


@pytest.mark.parametrize("alter", ALL)
def test_nothing_changes_at_a_share_of_nothing(alter: Alter) -> None:
    assert alter(TEXT, 0.0, np.random.default_rng(0)) == TEXT


def test_keys_have_the_neighbours_of_a_keyboard() -> None:
    assert set(_NEIGHBOURS["g"]) == set("fhtyvb")
    assert set(_NEIGHBOURS["q"]) == set("wa")
    assert all(key in _NEIGHBOURS[near] for key, nears in _NEIGHBOURS.items() for near in nears)


def test_typos_hit_as_many_letters_as_stated() -> None:
    changed = with_typos(TEXT, 0.1, np.random.default_rng(0))
    hit = [(one, other) for one, other in zip(TEXT, changed, strict=True) if one != other]
    letters = sum(map(str.isalpha, TEXT))
    # Binomial: 10 % of about 1,400 letters, within five standard deviations.
    assert abs(len(hit) - 0.1 * letters) < 5 * (letters * 0.09) ** 0.5
    assert all(other.lower() in _NEIGHBOURS[one.lower()] and one.isupper() == other.isupper() for one, other in hit)


def test_letters_of_other_scripts_change_places() -> None:
    changed = with_typos("привет мир", 1.0, np.random.default_rng(0))
    assert sorted(changed) == sorted("привет мир")
    assert changed != "привет мир"


def test_case_and_blanks_change_nothing_else() -> None:
    rng = np.random.default_rng(1)
    assert with_other_case(TEXT, 1.0, rng) == TEXT.upper()
    assert with_other_case("LOUD quiet", 1.0, rng) == "loud QUIET"
    assert with_other_spaces(TEXT, 0.5, rng).replace(" ", "") == TEXT.replace(" ", "")


def _n_edits(one: str, other: str) -> int:
    """Levenshtein's distance, row by row."""
    row = list(range(len(other) + 1))
    for height, character in enumerate(one, start=1):
        before, row[0] = row[0], height
        for place, there in enumerate(other, start=1):
            before, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, before + (character != there))
    return row[-1]


@pytest.mark.parametrize("name", NAMES["text"])
def test_a_corruption_is_the_same_for_the_same_sample_and_grows(name: str) -> None:
    assert set(NAMES["text"]) == set(CORRUPTIONS["text"])
    one = Sample("a" * 64, "labels.csv#a", "x", "", "default", "", "test")
    content = TEXT[:450].encode()
    changed = [corrupting("text", name, severity, SPEC)(one, content) for severity in (1, 3, 5)]
    assert changed == [corrupting("text", name, severity, SPEC)(one, content) for severity in (1, 3, 5)]
    unlike = [_n_edits(value.decode(), content.decode()) for value in changed]
    assert 0 < unlike[0] < unlike[2]
