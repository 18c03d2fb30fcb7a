"""Changes of a text that leave its meaning to a reader: what hurried fingers, phones and copying make of it.

Each takes a text and a share of what it may change, and gives another text, never an empty one; line breaks stay where they are.
"""

from __future__ import annotations

import re

import numpy as np

from pipelines.core.errors import DataError
from pipelines.core.modalities.text import has_something_to_read

# The neighbours of each key on a QWERTY keyboard, in its own row and in those above and below.
_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")


def _neighbours() -> dict[str, str]:
    found: dict[str, str] = {}
    for height, row in enumerate(_ROWS):
        for place, key in enumerate(row):
            own = row[max(0, place - 1) : place] + row[place + 1 : place + 2]
            # Each row begins about half a key further right than the one above it.
            above = _ROWS[height - 1][place : place + 2] if height else ""
            below = _ROWS[height + 1][max(0, place - 1) : place + 1] if height + 1 < len(_ROWS) else ""
            found[key] = own + above + below
    return found


_NEIGHBOURS = _neighbours()


def with_typos(text: str, share: float, rng: np.random.Generator) -> str:
    """Letters a to z replaced by a neighbour on the keyboard, their case kept; other letters change places with the next one.

    Args:
        text: Of any script.
        share: Probability of each letter to be hit.
        rng: Of this sample.
    """
    characters = list(text)
    for place in np.flatnonzero(rng.random(len(characters)) < share):
        _mistype(characters, int(place), rng)
    return "".join(characters)


def _mistype(characters: list[str], place: int, rng: np.random.Generator) -> None:
    character = characters[place]
    if near := _NEIGHBOURS.get(character.lower()):
        hit = near[int(rng.integers(len(near)))]
        characters[place] = hit.upper() if character.isupper() else hit
    elif character.isalpha() and place + 1 < len(characters) and characters[place + 1].isalpha():
        characters[place], characters[place + 1] = characters[place + 1], character


def with_deletions(text: str, share: float, rng: np.random.Generator) -> str:
    """Characters left out, each with probability `share`; white space stays."""
    left_out = rng.random(len(text)) < share
    kept = "".join(character for character, out in zip(text, left_out, strict=True) if character.isspace() or not out)
    return kept if has_something_to_read(kept) else text


def with_other_case(text: str, share: float, rng: np.random.Generator) -> str:
    """Words written in capitals or in small letters, whichever they are not, each with probability `share`."""

    def changed(match: re.Match[str]) -> str:
        word = match.group()
        return word if rng.random() >= share else word.lower() if word.isupper() else word.upper()

    return re.sub(r"\S+", changed, text)


def with_other_spaces(text: str, share: float, rng: np.random.Generator) -> str:
    """Blanks doubled or left out, which joins two words, each with probability `share`."""

    def changed(match: re.Match[str]) -> str:
        return match.group() if rng.random() >= share else ("", "  ")[int(rng.integers(2))]

    return re.sub(r"(?<=\S) (?=\S)", changed, text)


def as_text(content: bytes) -> str:
    """The text in a sample's bytes.

    Raises:
        DataError: They are not UTF-8.
    """
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            got=f"a text whose byte {error.start} is not UTF-8.", allowed="text in UTF-8.", next_step="leave the text out."
        ) from error
