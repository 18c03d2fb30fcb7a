from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from tokenizers import Tokenizer

from pipelines.core.errors import ConfigurationError
from pipelines.core.modalities.text import PADDING_ID
from pipelines.masked_language.masking import Masking, masked, masking_of
from tests.pipelines.tiny_texts import tokenizer_json, word_tokenizer_json

N_WORDS = 40
MASKING = Masking(mask_id=4, special=np.arange(N_WORDS) < 5)


def drawn(n_rows: int, n_tokens: int) -> NDArray[np.int64]:
    """[CLS], words, [SEP]."""
    ids = np.random.default_rng(0).integers(5, N_WORDS, size=(n_rows, n_tokens))
    ids[:, 0], ids[:, -1] = 2, 3
    return ids


def within(n_found: int, n: int, share: float) -> bool:
    """Within 5 standard deviations of a binomial: one wrong alarm in 1.7 million."""
    return abs(n_found - n * share) <= 5 * np.sqrt(n * share * (1 - share))


def test_the_shares_of_the_recipe() -> None:
    ids = drawn(1_000, 202)
    seen, guessed = masked(ids, MASKING, list(range(1_000)))
    n_words, n_guessed = 1_000 * 200, int(guessed.sum())
    assert within(n_guessed, n_words, 0.15)
    is_hidden, is_same = seen[guessed] == 4, seen[guessed] == ids[guessed]
    assert within(int(is_hidden.sum()), n_guessed, 0.8)
    # One random token in 35 is the true one.
    assert within(int(is_same.sum()), n_guessed, 0.1 + 0.1 / 35)
    others = seen[guessed][~is_hidden & ~is_same]
    counts = np.bincount(others, minlength=N_WORDS)
    assert (counts[:5] == 0).all()
    assert all(within(int(count), len(others), 1 / 35) for count in counts[5:])


@given(st.integers(min_value=1, max_value=8), st.integers(min_value=3, max_value=60), st.integers(min_value=0, max_value=2**40))
def test_what_is_not_to_be_guessed_stays_and_special_tokens_are_never_hidden(n_rows: int, n_tokens: int, seed: int) -> None:
    ids = drawn(n_rows, n_tokens)
    ids[0, n_tokens // 2 :] = PADDING_ID
    before = ids.copy()
    seen, guessed = masked(ids, MASKING, [seed + row for row in range(n_rows)])
    np.testing.assert_array_equal(ids, before)
    np.testing.assert_array_equal(seen[~guessed], ids[~guessed])
    assert not guessed[ids < 5].any()
    assert (seen[ids == PADDING_ID] == PADDING_ID).all()


def test_a_row_depends_on_its_seed_alone() -> None:
    ids = drawn(6, 40)
    together = masked(ids, MASKING, range(6))
    wider = np.pad(ids[3:4], ((0, 0), (0, 24)), constant_values=PADDING_ID)
    alone = masked(wider, MASKING, [3])
    for whole, part in zip(together, alone, strict=True):
        np.testing.assert_array_equal(whole[3], part[0, :40])
    again = masked(ids, MASKING, range(6))
    np.testing.assert_array_equal(together[0], again[0])
    assert not np.array_equal(together[1], masked(ids, MASKING, range(1, 7))[1])


def test_a_tokenisers_special_tokens_are_known() -> None:
    tokenizer = Tokenizer.from_str(word_tokenizer_json())
    masking = masking_of(tokenizer, tokenizer.get_vocab_size())
    assert masking.mask_id == tokenizer.token_to_id("[MASK]")
    assert np.flatnonzero(masking.special).tolist() == [0, 1, 2, 3, 4]
    assert len(masking_of(tokenizer, 20).special) == 20  # no token is drawn that the network has no embedding for


def test_a_tokeniser_without_a_mask_token_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"without a mask token\..*\[MASK\] or <mask>.*decoders are tuned by fine-tuning"):
        masking_of(Tokenizer.from_str(tokenizer_json("gpt2")), 300)
