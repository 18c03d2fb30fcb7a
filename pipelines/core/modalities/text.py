"""The adapter for text: UTF-8 bytes to token ids, by the tokeniser file that travels with the backbone.

Ids are padded with -1, from which the network makes its mask, up to the smallest of a few fixed lengths that holds them. A text always has
the same length in a batch, whatever it shares the batch with, and so the same features.
Letters for shapes: b batch, l token ids.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from pipelines.core.errors import DataError, IntegrityError
from pipelines.core.modalities.modality import SizeLimit

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# Relative to the folder of `backbone.json`, and to the bundle.
TOKENIZER_FILE = "tokenizer.json"
PADDING_ID = -1
# Each at most half as long again as the one before: a fifth of what is computed is padding, and few batches are not full.
BUCKET_TOKENS = (8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192)
# The order is the order of the columns in a bundle's reference.
TEXT_STATISTICS = (
    *("log2_characters", "letter_frac", "digit_frac", "upper_frac", "non_ascii_frac"),
    *("mean_word_length", "tokens_per_word", "unknown_frac", "truncated_frac"),
)
_BYTE_ORDER_MARK = "\ufeff"
# Control characters mean nothing to a reader and end up inside of words; line breaks and tabs are white space as it is.
_CONTROL_TO_SPACE = dict.fromkeys((*range(9), 11, 12, *range(14, 32), *range(127, 160)), " ")
_MOST_BYTES_PER_CHARACTER = 4


class TextPreprocess(BaseModel):
    """How a text becomes the input of a backbone.

    Attributes:
        tokenizer_sha256: Of `tokenizer.json` beside the spec, in the format of the library tokenizers.
        max_tokens: Longer texts are cut, which the statistic `truncated_frac` tells; special tokens count.
        max_characters: Longer texts are refused before they are tokenised.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["text"] = "text"
    tokenizer_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    max_tokens: Annotated[int, Field(ge=4, le=BUCKET_TOKENS[-1])]
    max_characters: Annotated[int, Field(ge=1)] = 1_000_000

    @property
    def input_shape(self) -> tuple[int]:
        """Of one network input of the greatest length: [t] token ids."""
        return (self.max_tokens,)


@dataclass(frozen=True)
class TokenizedText:
    """A decoded text.

    Attributes:
        text: Without byte order mark, control characters as spaces.
        ids: Of its tokens, special ones included, cut to `max_tokens`.
        n_tokens: Before it was cut, without special tokens; at least 1.
        n_unknown: Of those, how many the tokeniser has no word for.
        n_kept: Of those, how many are among `ids`.
    """

    text: str
    ids: tuple[int, ...]
    n_tokens: int
    n_unknown: int
    n_kept: int

    @property
    def is_truncated(self) -> bool:
        """Whether its end is not seen by the network."""
        return self.n_kept < self.n_tokens


@dataclass(frozen=True)
class TextModality:
    """Texts to token ids [l]."""

    kind: ClassVar[str] = "text"
    noun: ClassVar[str] = "text"
    statistics: ClassVar[tuple[str, ...]] = TEXT_STATISTICS

    spec: TextPreprocess
    folder: Path

    @property
    def size_limit(self) -> SizeLimit:
        """Characters."""
        return SizeLimit("characters", self.spec.max_characters)

    def stated_size(self, data: bytes) -> int | None:
        """Characters of UTF-8: bytes that go on with a character are not counted."""
        values = np.frombuffer(data, dtype=np.uint8)
        return int(np.count_nonzero((values & 0xC0) != 0x80))

    def decode(self, data: bytes) -> TokenizedText:
        """Decodes and tokenises.

        Raises:
            DataError: Invalid UTF-8, too long, nothing to be read in it, or nothing that the tokeniser makes a token of.
            IntegrityError: The tokeniser's file is missing or another.
        """
        return self.tokenize(decode_text(data, self.spec.max_characters))

    def tokenize(self, text: str) -> TokenizedText:
        """Tokenises a text of `decode_text`.

        Raises:
            DataError: No token comes of it.
        """
        tokenizer, unknown = self._tokenizer
        whole = tokenizer.encode(text, add_special_tokens=False)
        n_tokens, n_unknown = len(whole.ids), whole.ids.count(unknown)
        if n_tokens == 0:
            raise _nothing_to_read(f"a text of {len(text)} characters of which the tokeniser makes no token")
        whole.truncate(self.spec.max_tokens - tokenizer.num_special_tokens_to_add(False))
        n_kept = len(whole.ids)
        return TokenizedText(text, tuple(tokenizer.post_process(whole).ids), n_tokens, n_unknown, n_kept)

    def to_array(self, decoded: TokenizedText) -> NDArray[np.int64]:
        """int64 [l], padded to the text's own bucket."""
        array = np.full(bucket_tokens(len(decoded.ids), self.spec.max_tokens), PADDING_ID, dtype=np.int64)
        array[: len(decoded.ids)] = decoded.ids
        return array

    def input_statistics(self, decoded: TokenizedText) -> NDArray[np.float32]:
        """As `text_statistics`, and of the tokens: how many to a word, shares of unknown ones and of those that were cut off."""
        n_words = max(1, len(decoded.text.split()))
        of_tokens = (decoded.n_tokens / n_words, decoded.n_unknown / decoded.n_tokens, 1 - decoded.n_kept / decoded.n_tokens)
        return np.array([*text_statistics(decoded.text), *of_tokens], dtype=np.float32)

    def bucket(self, array: NDArray[np.int64]) -> int:
        """Its length."""
        return len(array)

    def batch(self, arrays: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
        """int64 [b, l]."""
        return padded(arrays)

    @cached_property
    def _tokenizer(self) -> tuple[Tokenizer, int]:
        # Two threads may both load it; the same file gives the same tokeniser.
        return load_tokenizer(self.folder / TOKENIZER_FILE, self.spec.tokenizer_sha256)


def decode_text(data: bytes, max_characters: int) -> str:
    """The text in UTF-8 bytes, without byte order mark, control characters as spaces.

    Raises:
        DataError: Invalid UTF-8, too long, or nothing in it that can be read.
    """
    if len(data) > max_characters * _MOST_BYTES_PER_CHARACTER:
        raise _too_long(f"{len(data)} bytes of text", max_characters)
    try:
        text = data.decode("utf-8").removeprefix(_BYTE_ORDER_MARK)
    except UnicodeDecodeError as error:
        raise DataError(
            got=f"{len(data)} bytes whose byte {error.start} is not UTF-8.",
            allowed="text in UTF-8.",
            next_step="save the text in UTF-8, or leave it out.",
        ) from error
    if len(text) > max_characters:
        raise _too_long(f"a text of {len(text)} characters", max_characters)
    plain = text.translate(_CONTROL_TO_SPACE)
    if not has_something_to_read(plain):
        raise _nothing_to_read(f"a text of {len(text)} characters with nothing to read in it")
    return plain


def has_something_to_read(text: str) -> bool:
    """Whether a character is neither white space nor invisible."""
    return any(not character.isspace() and unicodedata.category(character)[0] not in "CZ" for character in text)


def text_statistics(text: str) -> tuple[float, ...]:
    """The first six of `TEXT_STATISTICS`.

    Args:
        text: At least one character that is no white space.

    Returns:
        log2 of the number of characters; shares of letters, digits and characters beyond ASCII; share of upper case among letters that
        have a case; mean number of characters of a word, between white space.
    """
    n = len(text)
    n_upper, n_lower = sum(map(str.isupper, text)), sum(map(str.islower, text))
    words = text.split()
    return (
        float(np.log2(n)),
        sum(map(str.isalpha, text)) / n,
        sum(map(str.isdigit, text)) / n,
        n_upper / max(1, n_upper + n_lower),
        sum(not character.isascii() for character in text) / n,
        sum(map(len, words)) / len(words),
    )


def bucket_tokens(n_tokens: int, max_tokens: int) -> int:
    """The length that a text of so many ids is padded to."""
    return min(max_tokens, next(length for length in BUCKET_TOKENS if length >= n_tokens))


def padded(arrays: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """int64 [b, l]: ids with -1 behind them up to the longest, in a new array."""
    batch = np.full((len(arrays), max(map(len, arrays))), PADDING_ID, dtype=np.int64)
    for row, array in zip(batch, arrays, strict=True):
        row[: len(array)] = array
    return batch


def load_tokenizer(file: Path, sha256: str) -> tuple[Tokenizer, int]:
    """A tokeniser that neither cuts nor pads, and the id of its unknown token; -1 where it has none, as byte-level ones.

    Raises:
        IntegrityError: The file is missing, another, or no tokeniser.
    """
    from tokenizers import Tokenizer

    try:
        content = file.read_bytes()
    except OSError as error:
        raise _wrong_tokenizer(f"no file {TOKENIZER_FILE} ({error.strerror})") from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != sha256:
        raise _wrong_tokenizer(f"{TOKENIZER_FILE} with sha256 {digest} instead of {sha256}")
    try:
        tokenizer = Tokenizer.from_str(content.decode())
    except UnicodeDecodeError as error:
        raise _wrong_tokenizer(f"{TOKENIZER_FILE}, which is not UTF-8") from error
    except Exception as error:
        # The library raises plain exceptions for whatever it cannot read, and none of a class of its own.
        if type(error) is not Exception:
            raise
        raise _wrong_tokenizer(f"{TOKENIZER_FILE}, which the library tokenizers cannot read ({error})") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer, _unknown_id(tokenizer, json.loads(content))


def _unknown_id(tokenizer: Tokenizer, description: dict[str, Any]) -> int:
    model = description.get("model", {})
    if isinstance(number := model.get("unk_id"), int):
        return number
    name = model.get("unk_token")
    found = tokenizer.token_to_id(name) if isinstance(name, str) else None
    return PADDING_ID if found is None else found


def _wrong_tokenizer(got: str) -> IntegrityError:
    return IntegrityError(
        got=f"{got}.",
        allowed="the tokeniser file that the backbone was selected with.",
        next_step="restore the bundle with `dvc checkout`, or select the backbone again with `regraft retrain`.",
    )


def _too_long(got: str, max_characters: int) -> DataError:
    return DataError(
        got=f"{got}.",
        allowed=f"at most {max_characters} characters.",
        next_step="cut the text, or raise max_characters in the preprocess spec and train again.",
    )


def _nothing_to_read(got: str) -> DataError:
    return DataError(got=f"{got}.", allowed="at least one letter, digit or sign.", next_step="leave the text out.")
