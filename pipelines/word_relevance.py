"""Which words of a text spoke for a label: how far its score falls when a word is left out, through the sealed bundle's own predictor.

Erasure as in Li et al. 2016, https://arxiv.org/abs/1612.08220; we ask for the log odds of the label, not its log probability, so that a
label near 1 shows differences, too. Costs one answer for each word.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipelines.core.errors import DataError
from pipelines.excerpts import beginning

if TYPE_CHECKING:
    from pipelines.core.predict import Predictor

_SMALLEST = 1e-12


@dataclass(frozen=True)
class WordRelevance:
    """The beginning of a text, word by word.

    Attributes:
        words: As they stand there, without what follows; the last one is cut where the beginning ends inside of it.
        relevance: One for each in [0, 1], the largest 1; all 0 where leaving out none lowers the score.
        is_whole: Whether nothing follows.
    """

    words: tuple[str, ...]
    relevance: tuple[float, ...]
    is_whole: bool


def word_relevance(predictor: Predictor, content: bytes, place: int) -> WordRelevance:
    """Leaves out each word of the beginning of a text in turn.

    Args:
        predictor: The bundle, of texts.
        content: The raw text.
        place: Of the label that is asked about, in the bundle's order.

    Raises:
        DataError: The text does not decode.
    """
    words = str(predictor.modality.decode(content).text).split()
    text = " ".join(words)
    excerpt = beginning(text)
    is_whole = excerpt == text
    shown = words if is_whole else excerpt.removesuffix("…").split()
    n_shown = len(shown)
    whole = _score(predictor, [content], place)[0]
    # Without its only word there is no text to ask about.
    without = [" ".join(words[:left] + words[left + 1 :]).encode() for left in range(n_shown)] if len(words) > 1 else []
    falls = np.array([max(0.0, whole - score) for score in _scores_or(whole, predictor, without, place)] or [0.0] * n_shown)
    largest = falls.max(initial=0.0)
    relevance = falls / largest if largest > 0 else falls
    return WordRelevance(tuple(shown), tuple(round(float(value), 3) for value in relevance), is_whole)


def _scores_or(default: float, predictor: Predictor, texts: list[bytes], place: int) -> list[float]:
    """Scores; the default for a text of which nothing is left that can be read, such as a word between two signs."""
    readable = [text for text in texts if _is_readable(predictor, text)]
    found = iter(_score(predictor, readable, place) if readable else ())
    kept = set(readable)
    return [float(next(found)) if text in kept else default for text in texts]


def _is_readable(predictor: Predictor, text: bytes) -> bool:
    try:
        predictor.modality.decode(text)
    except DataError:
        return False
    return True


def _score(predictor: Predictor, texts: list[bytes], place: int) -> NDArray[np.float64]:
    probability = predictor.predict(texts).probabilities[:, place].clip(_SMALLEST, 1 - _SMALLEST)
    return np.asarray(np.log(probability) - np.log1p(-probability))
