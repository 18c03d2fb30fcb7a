"""Means and spreads over seeds."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from benchmarks.domain_adaptation.measuring import Row


def summary(rows: Sequence[Row]) -> list[dict[str, object]]:
    """Mean, smallest and largest over the seeds, and the mean gain over `source only` of the same seed."""
    plain = {(row.pair, row.seed): row.target_accuracy for row in rows if row.method == "source only"}
    found: list[dict[str, object]] = []
    for pair, method in dict.fromkeys((row.pair, row.method) for row in rows):
        chosen = [row for row in rows if (row.pair, row.method) == (pair, method)]
        values = [row.target_accuracy for row in chosen]
        gains = [row.target_accuracy - plain[row.pair, row.seed] for row in chosen]
        found.append(
            {
                "pair": pair,
                "method": method,
                "n_seeds": len(values),
                "target_mean": round(statistics.mean(values), 4),
                "target_min": min(values),
                "target_max": max(values),
                "gain_mean": round(statistics.mean(gains), 4),
                "gain_min": round(min(gains), 4),
                "n_seeds_better": sum(gain > 0 for gain in gains),
                "source_mean": round(statistics.mean(row.source_accuracy for row in chosen), 4),
                "seconds_median": statistics.median(row.seconds for row in chosen),
            }
        )
    return found
