"""Which of the given texts are learnt from, which are only measured on, and the pieces of tokens that come of them.

Letters for shapes: l token ids.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipelines.core.errors import DataError
from pipelines.core.modalities.text import decode_text
from pipelines.modalities.text_inputs import MOST_CHARACTERS, text_digest
from pipelines.split import unit_hash
from pipelines.text_rows import text_bytes

if TYPE_CHECKING:
    from tokenizers import Tokenizer

HELD_OUT_FRAC = 0.05
# Five texts are held out of a hundred; a loss of fewer says nothing.
LEAST_TEXTS = 100


@dataclass(frozen=True)
class TextCounts:
    """What became of the rows of a file.

    Attributes:
        n_rows: In the file.
        n_unreadable: Without a text, or with nothing to be read in it.
        n_of_test: In the workspace's test or holdout split; neither learnt from nor measured on.
        n_copies: Of an earlier row, whatever their case and white space.
        n_train: Learnt from.
        n_held_out: Measured on.
    """

    n_rows: int
    n_unreadable: int
    n_of_test: int
    n_copies: int
    n_train: int
    n_held_out: int

    def __str__(self) -> str:
        return (
            f"{self.n_rows} rows: {self.n_of_test} left out because they are in the workspace's test split, {self.n_copies} copies, "
            f"{self.n_unreadable} without a text; {self.n_train} to learn from, {self.n_held_out} held out to measure on"
        )

    def as_json(self) -> dict[str, int]:
        """For the record."""
        return asdict(self)


@dataclass(frozen=True)
class ChosenTexts:
    """Texts by their digests, in an order that does not depend on the file's."""

    train: dict[str, str]
    held_out: dict[str, str]
    counts: TextCounts


def choose_texts(rows: Sequence[str], test_digests: Collection[str], seed: int) -> ChosenTexts:
    """Leaves out what must not be learnt from, and holds a twentieth of the rest out.

    Args:
        rows: Of the file.
        test_digests: `text_digest` of the texts of the test split.
        seed: Decides who is held out, with the text and nothing else.

    Raises:
        DataError: Fewer than 100 texts are left.
    """
    usable: dict[str, str] = {}
    n_unreadable = n_of_test = n_copies = 0
    for row in rows:
        try:
            text = decode_text(text_bytes(row), MOST_CHARACTERS)
        except DataError:
            n_unreadable += 1
            continue
        digest = text_digest(text)
        n_of_test += digest in test_digests
        n_copies += digest in usable
        if digest not in test_digests:
            usable.setdefault(digest, text)
    _refuse_few(len(usable), len(rows), n_of_test)
    order = sorted(usable, key=lambda digest: (unit_hash(digest, f"held out of continued pretraining {seed}"), digest))
    n_held_out = math.ceil(HELD_OUT_FRAC * len(order))
    held_out, train = ({digest: usable[digest] for digest in part} for part in (order[:n_held_out], order[n_held_out:]))
    return ChosenTexts(train, held_out, TextCounts(len(rows), n_unreadable, n_of_test, n_copies, len(train), len(held_out)))


def _refuse_few(n_usable: int, n_rows: int, n_of_test: int) -> None:
    if n_usable < LEAST_TEXTS:
        raise DataError(
            got=f"{n_usable} different texts of {n_rows} rows, after {n_of_test} of the workspace's test split were left out.",
            allowed=f"at least {LEAST_TEXTS}; some thousands are worth the time.",
            next_step="collect more texts of the domain; they need no labels.",
        )


@dataclass(frozen=True)
class Piece:
    """As many tokens of a text as the network reads at once.

    Attributes:
        name: The text's digest and which piece of it, from 0.
        ids: int32 [l], special tokens included.
    """

    name: str
    ids: NDArray[np.int32]


def pieces_of(texts: dict[str, str], tokenizer: Tokenizer, max_tokens: int) -> list[Piece]:
    """Cuts every text into pieces of at most `max_tokens` tokens; none is lost, unlike where a text is classified.

    Args:
        texts: By digest.
        tokenizer: Of `load_tokenizer`; of its special tokens each piece has its own.
        max_tokens: Special tokens count.
    """
    pieces = []
    for digest, text in texts.items():
        whole = tokenizer.encode(text, add_special_tokens=False)
        whole.truncate(max_tokens - tokenizer.num_special_tokens_to_add(False))
        cut = [whole, *whole.overflowing] if whole.ids else []
        for number, part in enumerate(cut):
            pieces.append(Piece(f"{digest}/{number}", np.array(tokenizer.post_process(part).ids, dtype=np.int32)))
    return pieces
