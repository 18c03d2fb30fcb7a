from __future__ import annotations

import pytest

from pipelines.input_files import Unusable
from pipelines.known_texts import KnownTexts
from pipelines.labels_table import LabelRow
from pipelines.modalities.text_inputs import inspect_text

TEXTS = ["\ufeffthe anchor", "the\x07anchor", "The  ANCHOR", "the\x9banchor\n"]


@pytest.mark.parametrize("text", TEXTS)
def test_a_copy_is_known_whatever_is_removed_before_a_text_is_read(text: str) -> None:
    found = inspect_text(b"the anchor")
    assert not isinstance(found, Unusable)
    assert KnownTexts([LabelRow("line 2", "p", "sailing", text=text)]).labels_of_copies(found) == {"sailing"}


@pytest.mark.parametrize("text", TEXTS)
def test_a_row_and_what_is_inspected_have_one_digest(text: str) -> None:
    found = inspect_text(text.encode())
    assert not isinstance(found, Unusable)
    known = KnownTexts([LabelRow("line 2", "p", "sailing", text=text)])
    assert known.labels_of_copies(found) == known.labels_of_bytes(found.id) == {"sailing"}


def test_what_cannot_be_read_is_nobodys_copy() -> None:
    found = inspect_text(b"the anchor")
    assert not isinstance(found, Unusable)
    assert not KnownTexts([LabelRow("line 2", "p", "x", text=text) for text in (" ", "\ud800", "")]).labels_of_copies(found)
