"""Looks into texts, one by one: what is wrong with them is said, not raised, and no text is ever repeated in what is said."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass

from pipelines.core.errors import DataError
from pipelines.core.modalities.text import decode_text
from pipelines.input_files import Unusable
from pipelines.modalities.languages import main_language

# What `TextPreprocess` refuses unless it is told otherwise; the tokeniser that a project uses does not matter here.
MOST_CHARACTERS = 1_000_000
# RFC 5322 allows far more; these are the addresses that people have.
_E_MAIL = re.compile(r"(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)*\.[A-Za-z]{2,}(?![\w-])")
# 13 to 19 digits in groups as cards have them (ISO/IEC 7812), not inside of a longer number.
_CARD = re.compile(r"(?<![\d.,-])\d(?:[ -]?\d){12,18}(?![\d-])")
_N_LETTERS_LOOKED_AT = 400


@dataclass(frozen=True)
class TextInput:
    """A text that can be a sample.

    Attributes:
        id: sha256 of its bytes.
        n_characters: As they are.
        script: Of most of its letters, as Unicode names it, for example `LATIN`; empty where it has none.
        language: ISO 639 code; empty where it cannot be told.
        n_bytes: In UTF-8.
        damage: How its encoding is damaged, in a few words; empty where it is not.
        personal: What personal data it seems to hold, in a few words; empty where none was found.
        text_digest: sha256 of the text without case, of its compatible characters, white space alike: copies have the same one.
    """

    id: str
    n_characters: int
    script: str
    language: str
    n_bytes: int
    damage: str
    personal: str
    text_digest: str


def inspect_text(data: bytes) -> TextInput | Unusable:
    """Looks into one text."""
    try:
        text = decode_text(data, MOST_CHARACTERS)
    except DataError as error:
        return Unusable(error.got.rstrip("."))
    return TextInput(
        id=hashlib.sha256(data).hexdigest(),
        n_characters=len(text),
        script=main_script(text),
        language=main_language(text),
        n_bytes=len(data),
        damage=encoding_damage(text),
        personal=personal_data(text),
        text_digest=text_digest(text),
    )


def text_digest(text: str) -> str:
    """What copies of a text share: sha256 of it in compatibility form and folded case, with single blanks between words."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return hashlib.sha256(" ".join(folded.split()).encode("utf-8", "surrogatepass")).hexdigest()


def main_script(text: str) -> str:
    """The script of most of the first 400 letters, as the first word of their Unicode names; of equals the first by name.

    CJK and Japanese kana are scripts of their own, so a Japanese text has the one that it uses most.
    """
    letters = [character for character in text if character.isalpha()][:_N_LETTERS_LOOKED_AT]
    counts = Counter(unicodedata.name(letter, "UNKNOWN").split()[0] for letter in letters)
    return min(counts, key=lambda script: (-counts[script], script)) if counts else ""


def encoding_damage(text: str) -> str:
    """What a wrong encoding has left behind: replacement characters, or letters that are bytes of UTF-8 read as another encoding.

    The latter by the heuristic of ftfy (Speer 2019, https://doi.org/10.5281/zenodo.2591652).
    """
    from ftfy.badness import is_bad

    if "\N{REPLACEMENT CHARACTER}" in text:
        return "holds the replacement character U+FFFD: it was decoded wrongly and something of it is lost"
    return "looks like UTF-8 that was read in another encoding" if is_bad(text) else ""


def personal_data(text: str) -> str:
    """Kinds of personal data that the text seems to hold: e-mail addresses, and card numbers whose check digit is right (Luhn).

    A pattern, not a proof: a name or a postal address is not found, and one in ten random numbers of that length has a right check digit.
    """
    found = ["an e-mail address"] if _E_MAIL.search(text) else []
    found += ["a card number"] if any(_is_card(match.group()) for match in _CARD.finditer(text)) else []
    return ", ".join(found)


def _is_card(text: str) -> bool:
    digits = [int(character) for character in text if character.isdigit()]
    if len(set(digits)) == 1:
        return False
    # Luhn 1960: every second digit from the right doubled, the digits of the products added.
    doubled = [sum(divmod(2 * digit, 10)) if place % 2 else digit for place, digit in enumerate(reversed(digits))]
    return sum(doubled) % 10 == 0
