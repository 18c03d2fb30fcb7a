from __future__ import annotations

import pytest
from tokenizers import Tokenizer

from pipelines.core.errors import DataError
from pipelines.masked_language.pieces import PieceInputs
from pipelines.masked_language.texts import Piece, choose_texts, pieces_of
from pipelines.modalities.text_inputs import text_digest
from tests.pipelines.tiny_texts import sentences, word_tokenizer_json

ROWS = [text for text, _ in sentences(400)]


def test_every_row_is_accounted_for() -> None:
    judged = {text_digest(text) for text in ROWS[:30]}
    rows = [*ROWS[:5], *(text.upper() for text in ROWS[5:30]), *ROWS[30:], *(f"  {text} " for text in ROWS[30:40]), "", " \n", "\u200b"]
    chosen = choose_texts(rows, judged, seed=0)
    counts = chosen.counts
    assert (counts.n_rows, counts.n_of_test, counts.n_copies, counts.n_unreadable) == (413, 30, 10, 3)
    assert counts.n_train + counts.n_held_out == len(chosen.train) + len(chosen.held_out) == 370
    assert counts.n_held_out == 19  # a twentieth, rounded up
    assert not chosen.train.keys() & chosen.held_out.keys()
    assert not judged & (chosen.train.keys() | chosen.held_out.keys())
    assert "413 rows: 30 left out because they are in the workspace's test split, 10 copies, 3 without a text; 351 to learn" in str(counts)


def test_who_is_held_out_depends_on_the_text_and_the_seed_and_not_on_the_files_order() -> None:
    first, turned, other = choose_texts(ROWS, (), 0), choose_texts(ROWS[::-1], (), 0), choose_texts(ROWS, (), 1)
    assert list(first.train.items()) == list(turned.train.items())
    assert list(first.held_out.items()) == list(turned.held_out.items())
    assert first.held_out.keys() != other.held_out.keys()


def test_too_few_texts_are_refused() -> None:
    with pytest.raises(DataError, match=r"99 different texts of 100 rows, after 1 of the workspace's test split.*at least 100.*no labels"):
        choose_texts(ROWS[:100], {text_digest(ROWS[3])}, 0)
    choose_texts(ROWS[:100], (), 0)


def test_no_token_of_a_long_text_is_lost() -> None:
    tokenizer = Tokenizer.from_str(word_tokenizer_json())
    texts = {text_digest(text): text for text in ROWS[:50]}
    pieces = pieces_of(texts, tokenizer, max_tokens=8)
    assert all(piece.ids[0] == 2 and piece.ids[-1] == 3 and 3 <= len(piece.ids) <= 8 for piece in pieces)
    for digest, text in texts.items():
        words = [number for piece in pieces if piece.name.startswith(digest) for number in piece.ids[1:-1].tolist()]
        assert words == tokenizer.encode(text, add_special_tokens=False).ids


def pieces(n: int) -> list[Piece]:
    tokenizer = Tokenizer.from_str(word_tokenizer_json())
    return pieces_of({f"{number:064d}": text for number, text in enumerate(ROWS[:n])}, tokenizer, 48)


def test_pieces_are_padded_to_the_longest_of_a_batch() -> None:
    every = pieces(20)
    batch = PieceInputs(every).batch([3, 0])
    assert batch.shape[1] == max(len(every[3].ids), len(every[0].ids))
    for row, place in zip(batch, (3, 0), strict=True):
        assert row[row >= 0].tolist() == every[place].ids.tolist()
