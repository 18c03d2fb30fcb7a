"""The monitor on real texts, as `benchmarks.drift_detection` on real digits: `python -m benchmarks.drift_text`. Needs ../shared.

Writes into results/, each with a .json of the hardware, the versions and the settings:

    drift_text_null.csv   false alarms of 1,000 unchanged windows of 50, 200 and 1,000 requests, at levels of 5, 1 and 0.1 %
    drift_text_power.csv  windows of 200 found for each change, its cost in accuracy, and the error of the accuracy estimates
    drift_text_delay.csv  requests after a change until it is found, looked at every 50
    drift_text_peers.csv  the same windows through Evidently's embedding detectors and alibi-detect's

Traffic: `benchmarks.real_reviews`. Reference of 1,000.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.drift_delay import HOURLY_LEVEL, delay_rows
from benchmarks.drift_detection import FIRST_LEVEL, LEVELS, N_DRAWS, N_NULL, NULL_SIZES, Row, drifted_at, rate_row
from benchmarks.drift_peers import COSTLY_FRAC, peer_rows
from benchmarks.drift_traffic import N_REFERENCE, N_WINDOW, REVIEWS
from benchmarks.machine import write_results
from benchmarks.real_digits import Answers
from benchmarks.real_reviews import RealReviews, changes
from monitoring.alarm_budget import ERROR_RATE_SHARE
from monitoring.quality import quality
from monitoring.signals.run import Strictness, run_signals

COMMAND = "python -m benchmarks.drift_text"
# The reviews that are changed; the others make references.
N_CHANGED = 800


@dataclass(frozen=True, eq=False)
class Changed:
    """Reviews that were changed or are of another domain, and those that were not.

    Attributes:
        before: The reviews that are changed, as they were.
        unchanged: Others of the same domain.
        corrupted: By the name of the change.
        others: By the name of the domain.
    """

    before: Answers
    unchanged: Answers
    corrupted: dict[str, Answers]
    others: dict[str, Answers]

    @classmethod
    def of(cls, reviews: RealReviews) -> Changed:
        places, n_own = np.arange(N_CHANGED), len(reviews.own.true)
        corrupted = {name: reviews.changed(change, places) for name, change in changes(reviews.spec).items()}
        unchanged = reviews.own.rows(np.arange(N_CHANGED, n_own))
        return cls(reviews.own.rows(places), unchanged, corrupted, reviews.other_domains(N_CHANGED))

    @property
    def pools(self) -> dict[str, Answers]:
        return {**self.corrupted, **self.others}

    def losses(self, own_accuracy: float) -> dict[str, float]:
        """What each change costs in accuracy; of a corruption it is told by the very reviews that it changes."""
        before = self.before.accuracy
        lost = {name: before - pool.accuracy for name, pool in self.corrupted.items()}
        return lost | {name: own_accuracy - pool.accuracy for name, pool in self.others.items()}


def null_rows(own: Answers) -> list[Row]:
    rows: list[Row] = []
    for n_window in NULL_SIZES:
        alarms = Counter[float]()
        for seed in range(N_NULL):
            answers, reference = REVIEWS.drawn(own, n_window, seed)
            signals = run_signals(REVIEWS.window(answers), reference, Strictness(min(LEVELS), seed))
            alarms.update(level for level in LEVELS if drifted_at(signals, level))
        rows += [{"n_window": n_window, "level": level, **rate_row(alarms[level], N_NULL)} for level in LEVELS]
        print(rows[-len(LEVELS) :], flush=True)
    return rows


def power_rows(changed: Changed, own_accuracy: float) -> list[Row]:
    losses = {"none": 0.0, **changed.losses(own_accuracy)}
    rows: list[Row] = []
    for name, pool in {"none": changed.before, **changed.pools}.items():
        rows.append(_power(name, pool, changed.unchanged, losses[name]))
        print(rows[-1], flush=True)
    return rows


def costly_pools(changed: Changed, own_accuracy: float) -> list[Answers]:
    return [changed.pools[name] for name, loss in changed.losses(own_accuracy).items() if loss >= COSTLY_FRAC]


def _power(name: str, pool: Answers, unchanged: Answers, loss: float) -> Row:
    found: Counter[str] = Counter()
    errors: dict[str, list[float]] = {"expected": [], "thresholded": []}
    for seed in range(N_DRAWS):
        rng = np.random.default_rng(seed)
        answers = pool.rows(rng.permutation(len(pool.true))[:N_WINDOW])
        window = REVIEWS.window(answers)
        reference = REVIEWS.reference(unchanged.rows(rng.permutation(len(unchanged.true))[:N_REFERENCE]))
        signals = run_signals(window, reference, Strictness(HOURLY_LEVEL, seed))
        found.update(label for label, level in _LEVEL_NAMES.items() if drifted_at(signals, level))
        judged = quality(window, reference, ERROR_RATE_SHARE, seed)
        errors["expected"].append(judged.expected.value - answers.accuracy)
        errors["thresholded"].append(judged.thresholded.value - answers.accuracy)
    row: Row = {"change": name, "loss_points": round(100 * loss, 1), "n_windows": N_DRAWS}
    row |= {label: found[label] for label in _LEVEL_NAMES}
    return row | {f"{estimate}_mean_absolute_error": round(float(np.abs(values).mean()), 3) for estimate, values in errors.items()}


_LEVEL_NAMES = {"found_first_window": FIRST_LEVEL, "found_hourly": HOURLY_LEVEL}


def main(names: Sequence[str]) -> None:
    reviews = RealReviews()
    print(f"accuracy on the own domain {reviews.own.accuracy:.3f}, {len(reviews.own.true)} reviews", flush=True)
    changed, own_accuracy = Changed.of(reviews), reviews.own.accuracy
    steps: dict[str, Callable[[], list[Row]]] = {
        "drift_text_power": lambda: power_rows(changed, own_accuracy),
        "drift_text_delay": lambda: delay_rows(REVIEWS, changed.unchanged, changed.pools, longest=N_CHANGED),
        "drift_text_peers": lambda: peer_rows(REVIEWS, reviews.own, changed.unchanged, costly_pools(changed, own_accuracy)),
        "drift_text_null": lambda: null_rows(reviews.own),
    }
    about = {"n_reference": N_REFERENCE, "own_accuracy": own_accuracy, "first_level": FIRST_LEVEL, "hourly_level": HOURLY_LEVEL}
    for name in names or steps:
        started = time.perf_counter()
        rows = steps[name]()
        write_results(name, COMMAND, rows, about | {"seconds": round(time.perf_counter() - started)})


if __name__ == "__main__":
    main(sys.argv[1:])
