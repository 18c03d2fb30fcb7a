"""The monitor on real texts, as `benchmarks.drift_detection` on real digits: `python -m benchmarks.drift_text`. Needs ../shared.

Writes into results/, each with a .json of the hardware, the versions and the settings:

    drift_text_null.csv   false alarms of 1,000 unchanged windows of 50, 200 and 1,000 requests, at levels of 5, 1 and 0.1 %
    drift_text_power.csv  windows of 200 found for each change, its cost in accuracy, and the error of the accuracy estimates

Traffic: `benchmarks.real_reviews`. Reference of 1,000.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from benchmarks.drift_detection import (
    FIRST_LEVEL,
    HOURLY_LEVEL,
    LEVELS,
    N_DRAWS,
    N_NULL,
    N_REFERENCE,
    N_WINDOW,
    NULL_SIZES,
    Row,
    drifted_at,
    rate_row,
)
from benchmarks.machine import write_results
from benchmarks.real_digits import Answers
from benchmarks.real_reviews import RealReviews, changes, reference_of, window_of
from monitoring.alarm_budget import ERROR_RATE_SHARE
from monitoring.quality import quality
from monitoring.signals.run import Strictness, run_signals

COMMAND = "python -m benchmarks.drift_text"
# The reviews that are changed; the others make references.
N_CHANGED = 800


def null_rows(reviews: RealReviews) -> list[Row]:
    rows: list[Row] = []
    for n_window in NULL_SIZES:
        alarms = Counter[float]()
        for seed in range(N_NULL):
            order = np.random.default_rng(seed).permutation(len(reviews.own.true))
            reference = reference_of(reviews.own.rows(order[n_window : n_window + N_REFERENCE]))
            signals = run_signals(window_of(reviews.own.rows(order[:n_window])), reference, Strictness(min(LEVELS), seed))
            alarms.update(level for level in LEVELS if drifted_at(signals, level))
        rows += [{"n_window": n_window, "level": level, **rate_row(alarms[level], N_NULL)} for level in LEVELS]
        print(rows[-len(LEVELS) :], flush=True)
    return rows


def power_rows(reviews: RealReviews) -> list[Row]:
    unchanged = reviews.own.rows(np.arange(N_CHANGED, len(reviews.own.true)))
    before = reviews.own.rows(np.arange(N_CHANGED))
    pools = {name: reviews.changed(change, np.arange(N_CHANGED)) for name, change in changes(reviews.spec).items()}
    others = reviews.other_domains(N_CHANGED)
    pools |= others
    rows: list[Row] = []
    for name, pool in {"none": before, **pools}.items():
        # What a corruption costs is told by the very reviews that it changes.
        accuracy = reviews.own.accuracy if name in others else before.accuracy
        rows.append(_power(name, pool, unchanged, accuracy))
        print(rows[-1], flush=True)
    return rows


def _power(name: str, pool: Answers, unchanged: Answers, accuracy: float) -> Row:
    found: Counter[str] = Counter()
    errors: dict[str, list[float]] = {"expected": [], "thresholded": []}
    for seed in range(N_DRAWS):
        rng = np.random.default_rng(seed)
        answers = pool.rows(rng.permutation(len(pool.true))[:N_WINDOW])
        window = window_of(answers)
        reference = reference_of(unchanged.rows(rng.permutation(len(unchanged.true))[:N_REFERENCE]))
        signals = run_signals(window, reference, Strictness(HOURLY_LEVEL, seed))
        found.update(label for label, level in _LEVEL_NAMES.items() if drifted_at(signals, level))
        judged = quality(window, reference, ERROR_RATE_SHARE, seed)
        errors["expected"].append(judged.expected.value - answers.accuracy)
        errors["thresholded"].append(judged.thresholded.value - answers.accuracy)
    row: Row = {"change": name, "loss_points": round(100 * (accuracy - pool.accuracy), 1), "n_windows": N_DRAWS}
    row |= {label: found[label] for label in _LEVEL_NAMES}
    return row | {f"{estimate}_mean_absolute_error": round(float(np.abs(values).mean()), 3) for estimate, values in errors.items()}


_LEVEL_NAMES = {"found_first_window": FIRST_LEVEL, "found_hourly": HOURLY_LEVEL}


def main(names: Sequence[str]) -> None:
    reviews = RealReviews()
    print(f"accuracy on the own domain {reviews.own.accuracy:.3f}, {len(reviews.own.true)} reviews", flush=True)
    steps: dict[str, Callable[[], list[Row]]] = {
        "drift_text_power": lambda: power_rows(reviews),
        "drift_text_null": lambda: null_rows(reviews),
    }
    about = {"n_reference": N_REFERENCE, "own_accuracy": reviews.own.accuracy, "first_level": FIRST_LEVEL, "hourly_level": HOURLY_LEVEL}
    for name in names or steps:
        started = time.perf_counter()
        rows = steps[name]()
        write_results(name, COMMAND, rows, about | {"seconds": round(time.perf_counter() - started)})


if __name__ == "__main__":
    main(sys.argv[1:])
