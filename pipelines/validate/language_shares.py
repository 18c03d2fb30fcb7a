"""Languages of which more came lately than before: of texts that state when they arrived.

A language has risen where even the lower bound of its share among the latest texts, less the upper bound of its share before, is above the
limit: both bounds exact (Clopper-Pearson), their errors and those of all languages together at most 1 %.
"""

from __future__ import annotations

from collections import Counter

import pandas as pd

from pipelines.intervals import one_sided_bounds

# So many texts at least are the latest, and so many stand before them.
LEAST_TEXTS = 30
_ERROR = 0.01


def language_table(texts: pd.DataFrame, max_rise: float) -> pd.DataFrame:
    """A row for each language among the latest texts.

    Args:
        texts: `language`, empty where it cannot be told; `arrival`, YYYY-MM-DD or empty; and `text_digest`, which copies share: they
            count once, where the first of them arrived.
        max_rise: Rise of a share that is let pass, in [0, 1].

    Returns:
        `language`, and `rise`: in words, nothing where the language has not risen. No row where nothing
        can be compared: too few texts state an arrival, all came on one day, or no language of the latest can be told.
    """
    texts = texts.sort_values("arrival", kind="stable").drop_duplicates("text_digest")  # one without a date was there before
    latest = _are_latest(texts["arrival"])
    now, before = texts.loc[latest, "language"], texts.loc[~latest, "language"]
    if min(len(now), len(before)) < LEAST_TEXTS:
        return pd.DataFrame({"language": [], "rise": []}, dtype=object)
    counts, counts_before = Counter(now[now != ""]), Counter(before)
    rises = {
        language: _rise((n, len(now)), (counts_before[language], len(before)), max_rise, n_compared=len(counts))
        for language, n in sorted(counts.items())
    }
    return pd.DataFrame({"language": list(rises), "rise": list(rises.values())}, dtype=object)


def _are_latest(arrivals: pd.Series[str]) -> pd.Series[bool]:
    """Those of the last days, as many days as hold 30 texts; texts without a date were there before."""
    dated = sorted((day for day in arrivals if day), reverse=True)
    if len(dated) < LEAST_TEXTS:
        return pd.Series(data=False, index=arrivals.index)
    return arrivals >= dated[LEAST_TEXTS - 1]


def _rise(now: tuple[int, int], before: tuple[int, int], max_rise: float, n_compared: int) -> str | None:
    level = 1 - _ERROR / (2 * n_compared)
    if one_sided_bounds(*now, level).low - one_sided_bounds(*before, level).high <= max_rise:
        return None
    lately = f"{now[0]:,} of the {now[1]:,} texts that came last ({now[0] / now[1]:.1%})"
    return f"is the language of {lately}, before of {before[0]:,} of {before[1]:,} ({before[0] / before[1]:.1%})"
