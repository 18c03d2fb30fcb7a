from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.core.label_sets import canonical_text, members_of, set_text, set_texts

LABELS = ("cat", "dog", "a bird")


@given(st.sets(st.sampled_from(LABELS)))
def test_every_way_to_write_a_set_is_one_text(members: set[str]) -> None:
    expected = set_text(members, LABELS)
    for order in itertools.permutations(members):
        assert canonical_text(" | ".join(order), LABELS) == canonical_text(list(order), LABELS) == expected
    assert set(members_of(expected)) == members
    assert canonical_text(expected, LABELS) == expected


def test_different_sets_have_different_texts_and_rows_have_theirs() -> None:
    rows = list(itertools.product([False, True], repeat=3))
    texts = set_texts(np.array(rows), LABELS)
    assert len(set(texts)) == 8
    assert texts[0] == ""
    assert texts[5] == "cat|a bird"
    assert set_texts(np.zeros((0, 3), dtype=bool), LABELS) == ()


@pytest.mark.parametrize("written", ["owl", "cat|owl", "cat|cat", "cat||dog", "|", "Cat", ["cat", "cat"], ["cat|dog"], [""]])
def test_what_is_no_set_of_the_labels(written: str | list[str]) -> None:
    assert canonical_text(written, LABELS) is None


def test_a_list_and_a_text_are_read_alike() -> None:
    assert canonical_text([" dog", "cat "], LABELS) == canonical_text("dog | cat", LABELS) == "cat|dog"


def test_blanks_alone_are_the_empty_set() -> None:
    assert canonical_text("  ", LABELS) == canonical_text([], LABELS) == ""
