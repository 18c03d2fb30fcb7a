"""The language of a text, by py3langid: naive Bayes over byte n-grams, 139 languages (Lui and Baldwin 2012, https://aclanthology.org/P12-3005).

Its model is a file of the package and no pickle; nothing is fetched.
"""

from __future__ import annotations

from functools import cache
from typing import Any

# Below it a text is too short, or too mixed, to say.
_LEAST_CONFIDENCE = 0.5
# More letters do not make it surer.
_N_CHARACTERS_LOOKED_AT = 1_000
# Numbers, markup and names of things.
_NO_LANGUAGE = "zxx"


def main_language(text: str) -> str:
    """ISO 639 code of the language of a text's first 1,000 characters; empty where it cannot be told."""
    language, confidence = _identifier().classify(text[:_N_CHARACTERS_LOOKED_AT])
    return "" if language == _NO_LANGUAGE or confidence < _LEAST_CONFIDENCE else str(language)


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
