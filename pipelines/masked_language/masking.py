"""Which tokens are hidden, and by what: BERT's recipe (Devlin et al. 2018, https://arxiv.org/abs/1810.04805).

Letters for shapes: b batch, l token ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipelines.core.errors import ConfigurationError
from pipelines.core.modalities.text import PADDING_ID

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MASKED_FRAC = 0.15
# Of those that are to be guessed: replaced by the mask token, replaced by a random token; the rest stays as it is.
_HIDDEN_FRAC, _RANDOM_FRAC = 0.8, 0.1
_MASK_TOKENS = ("[MASK]", "<mask>")


@dataclass(frozen=True, eq=False)
class Masking:
    """What a tokeniser has to hide tokens with.

    Attributes:
        mask_id: Of the token that stands for a hidden one.
        special: bool [v], whether an id is of a special token, which is never hidden; v is the size of the vocabulary.
    """

    mask_id: int
    special: NDArray[np.bool_]

    @property
    def plain(self) -> NDArray[np.int64]:
        """Ids that a random token is drawn from."""
        return np.flatnonzero(~self.special)


def masking_of(tokenizer: Tokenizer, n_embeddings: int) -> Masking:
    """The masking of a tokeniser.

    Args:
        tokenizer: Of the backbone.
        n_embeddings: Tokens that the network has embeddings for.

    Raises:
        ConfigurationError: It has no mask token.
    """
    found = [number for name in _MASK_TOKENS if (number := tokenizer.token_to_id(name)) is not None and number < n_embeddings]
    if not found:
        raise ConfigurationError(
            got="a tokeniser without a mask token.",
            allowed=f"one with {' or '.join(_MASK_TOKENS)}, as encoders such as bert, roberta and mpnet have.",
            next_step="take such a backbone; decoders are tuned by fine-tuning alone.",
        )
    special = np.zeros(min(n_embeddings, tokenizer.get_vocab_size()), dtype=np.bool_)
    added = [number for number, token in tokenizer.get_added_tokens_decoder().items() if token.special and number < len(special)]
    special[[*added, found[0]]] = True
    return Masking(found[0], special)


def masked(ids: NDArray[np.int64], masking: Masking, seeds: Sequence[int]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Hides 15 % of the tokens, each by itself: 80 % of them by the mask token, 10 % by a random one, 10 % not at all.

    Args:
        ids: [b, l], -1 as padding.
        masking: Of the tokeniser.
        seeds: One for each row: what is drawn for it depends on nothing else.

    Returns:
        int64 [b, l], what the network sees; bool [b, l], where it has to guess.
    """
    inputs, guessed = ids.copy(), np.zeros(ids.shape, dtype=np.bool_)
    for row, chosen, seed in zip(inputs, guessed, seeds, strict=True):
        n_tokens = int(np.count_nonzero(row != PADDING_ID))  # padding is behind them, and must not move what is drawn
        rng = np.random.default_rng(seed)
        tokens = row[:n_tokens]
        chosen[:n_tokens] = (rng.random(n_tokens) < MASKED_FRAC) & ~masking.special[tokens]
        how = rng.random(n_tokens)
        random_tokens = rng.choice(masking.plain, size=n_tokens)
        tokens[chosen[:n_tokens] & (how < _HIDDEN_FRAC)] = masking.mask_id
        is_random = chosen[:n_tokens] & (how >= _HIDDEN_FRAC) & (how < _HIDDEN_FRAC + _RANDOM_FRAC)
        tokens[is_random] = random_tokens[is_random]
    return inputs, guessed
