"""How often is the monitor wrong, what does it find, how soon, and how well does it guess the accuracy? On real digits; needs ../shared.

Run: `python -m benchmarks.drift_detection`. Writes into results/, each with a .json of the hardware, the versions and the settings:

    drift_null.csv      false alarms of 1,000 unchanged windows of 50, 200 and 1,000 requests, at levels of 5, 1 and 0.1 %
    drift_bursts.csv    the same for requests that depend on their neighbours
    drift_power.csv     windows of 200 found for each change, its cost in accuracy, and what was said of the cost
    drift_delay.csv     requests after a change until it is found, looked at every 50
    drift_accuracy.csv  mean absolute error of the accuracy estimates
    drift_peers.csv     the same windows through Evidently's embedding detectors and alibi-detect's

Traffic: `benchmarks.real_digits`. Reference of 1,000. Null windows and references are drawn anew each time from the same 5,000 digits.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from scipy.stats import binomtest

from benchmarks.drift_delay import HOURLY_LEVEL, delay_rows
from benchmarks.drift_peers import COSTLY_FRAC, peer_rows
from benchmarks.drift_traffic import DIGITS, N_REFERENCE, N_WINDOW
from benchmarks.machine import write_results
from benchmarks.real_digits import Answers, RealDigits, as_reference, as_window, changes, jittered
from monitoring.alarm_budget import ERROR_RATE_SHARE, INPUT_SHARE
from monitoring.bursts import burst_length
from monitoring.harm import judge_harm
from monitoring.quality import labelled_since, quality
from monitoring.reference import Reference
from monitoring.signals.multiplicity import holm_cutoff
from monitoring.signals.result import SignalResult
from monitoring.signals.run import N_FAMILIES, Strictness, run_signals

COMMAND = "python -m benchmarks.drift_detection"
N_NULL, NULL_SIZES, LEVELS = 1_000, (50, 200, 1_000), (0.05, 0.01, 0.001)
N_DRAWS = 40
# At one false alarm a year, of the first window.
FIRST_LEVEL = INPUT_SHARE * 7 / 365.25 / 2
CHANGED_PLACES = np.arange(2_000, 4_000)
_BURST, _N_BURSTY = 5, 200

Row = dict[str, object]


def drifted_at(signals: Sequence[SignalResult], level: float) -> bool:
    """Whether these p-values would be called drift at another level."""
    families = {signal.family for signal in signals}
    by_family = [[signal.p_value for signal in signals if signal.family == family] for family in families]
    return any(min(p_values) <= holm_cutoff(p_values, level / N_FAMILIES) for p_values in by_family)


def rate_row(n_alarms: int, n_windows: int) -> Row:
    interval = binomtest(n_alarms, n_windows).proportion_ci(0.95, method="exact")
    return {
        "n_windows": n_windows,
        "n_alarms": n_alarms,
        "rate": n_alarms / n_windows,
        "low": round(interval.low, 4),
        "high": round(interval.high, 4),
    }


def null_rows(digits: RealDigits) -> list[Row]:
    rows: list[Row] = []
    for n_window in NULL_SIZES:
        started, alarms = time.perf_counter(), Counter[float]()
        for seed in range(N_NULL):
            answers, reference = DIGITS.drawn(digits.own, n_window, seed)
            signals = run_signals(as_window(answers), reference, Strictness(min(LEVELS), seed))
            alarms.update(level for level in LEVELS if drifted_at(signals, level))
        seconds = (time.perf_counter() - started) / N_NULL
        rows += [
            {"n_window": n_window, "level": level, **rate_row(alarms[level], N_NULL), "seconds_per_window": round(seconds, 3)}
            for level in LEVELS
        ]
        print(rows[-len(LEVELS) :], flush=True)
    return rows


def burst_rows(digits: RealDigits) -> list[Row]:
    """Frames of a video (five alike in a row), and classes that stick: the next request is of the same digit nine times in ten."""
    frames = [digits.own] + [digits.changed(jittered, np.arange(len(digits.own.true)), seed) for seed in range(1, _BURST)]
    kinds: dict[str, Callable[[int], tuple[Answers, Reference]]] = {
        "bursts of 5": lambda seed: _in_bursts(frames, digits.own, seed),
        "sticky classes": lambda seed: _sticky(digits.own, seed),
    }
    rows: list[Row] = []
    for kind, draw in kinds.items():
        for corrected in (False, True):
            found, lengths = 0, []
            for seed in range(_N_BURSTY):
                answers, reference = draw(seed)
                window = as_window(answers)
                lengths.append(burst_length(window.embeddings))
                judged = window.every(lengths[-1]) if corrected else window
                found += drifted_at(run_signals(judged, reference, Strictness(0.01, seed)), 0.01)
            rows.append(
                {"traffic": kind, "corrected": corrected, "level": 0.01, "median_burst_length": float(np.median(lengths))}
                | rate_row(found, _N_BURSTY)
            )
            print(rows[-1], flush=True)
    return rows


def _in_bursts(frames: list[Answers], own: Answers, seed: int) -> tuple[Answers, Reference]:
    order = np.random.default_rng(seed).permutation(len(own.true))
    chosen = order[:100]
    parts = [frame.rows(chosen) for frame in frames]
    turn = np.arange(100 * _BURST).reshape(_BURST, 100).T.ravel()
    together = parts[0]
    for part in parts[1:]:
        together = Answers.joined(together, part)
    # The reference has no burst: each of its digits comes as one frame.
    reference = order[100 : 100 + N_REFERENCE]
    which = np.random.default_rng(seed).integers(0, _BURST, N_REFERENCE)
    columns = [np.stack([getattr(frame, name)[reference] for frame in frames]) for name in _NAMES]
    return together.rows(turn), as_reference(Answers(*(column[which, np.arange(N_REFERENCE)] for column in columns)))


_NAMES = ("embeddings", "probabilities", "statistics", "true")


def _sticky(own: Answers, seed: int) -> tuple[Answers, Reference]:
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(own.true))
    reference, rest = order[:N_REFERENCE], order[N_REFERENCE:]
    shares = np.bincount(own.true, minlength=10) / len(own.true)
    digit, places = int(rng.choice(10, p=shares)), []
    for _ in range(300):
        if rng.random() > 0.9:
            digit = int(rng.choice(10, p=shares))
        places.append(int(rng.choice(rest[own.true[rest] == digit])))
    return own.rows(np.array(places)), as_reference(own.rows(reference))


def changed_pools(digits: RealDigits) -> dict[str, Answers]:
    pools = {name: digits.changed(change, CHANGED_PLACES) for name, change in changes().items()}
    return pools | {"usps": digits.other_domain()}


def unchanged(digits: RealDigits) -> Answers:
    """The digits of the own domain that are not among the changed ones."""
    return digits.own.rows(np.setdiff1d(np.arange(len(digits.own.true)), CHANGED_PLACES))


def costly(digits: RealDigits, pools: dict[str, Answers]) -> list[Answers]:
    return [pool for pool in pools.values() if unchanged(digits).accuracy - pool.accuracy >= COSTLY_FRAC]


def power_rows(digits: RealDigits, pools: dict[str, Answers]) -> list[Row]:
    """References are drawn from the digits that are not changed."""
    own = unchanged(digits)
    rows = []
    for name, pool in pools.items():
        loss = own.accuracy - pool.accuracy
        found: Counter[str] = Counter()
        for seed in range(N_DRAWS):
            window, reference = DIGITS.pair(pool, own, N_WINDOW, seed)
            signals = run_signals(window, reference, Strictness(HOURLY_LEVEL, seed))
            found.update(f"at_{label}" for label, level in _LEVEL_NAMES.items() if drifted_at(signals, level))
            judged = quality(window, reference, ERROR_RATE_SHARE, seed)
            found[judge_harm(judged, signals, COSTLY_FRAC, labelled_since(window, reference, window.times[0])).harm] += 1
        kinds = ("costs", "unknown", "costs_nothing")
        row: Row = {"change": name, "loss_points": round(100 * loss, 1), "n_windows": N_DRAWS}
        row |= {f"found_{label}": found[f"at_{label}"] for label in _LEVEL_NAMES} | {f"said_{kind}": found[kind] for kind in kinds}
        rows.append(row)
        print(row, flush=True)
    return rows


_LEVEL_NAMES = {"first_window": FIRST_LEVEL, "hourly": HOURLY_LEVEL}


def accuracy_rows(digits: RealDigits, pools: dict[str, Answers]) -> list[Row]:
    own = unchanged(digits)
    rows = []
    for name, pool in {"none": own, **pools}.items():
        errors: dict[str, list[float]] = {"expected": [], "thresholded": []}
        for seed in range(N_DRAWS):
            order = np.random.default_rng(seed).permutation(len(own.true))
            reference = as_reference(own.rows(order[:N_REFERENCE]))
            rest = own.rows(order[N_REFERENCE:]) if name == "none" else pool
            answers = rest.rows(np.random.default_rng([seed, 1]).permutation(len(rest.true))[:N_WINDOW])
            judged = quality(as_window(answers), reference, ERROR_RATE_SHARE, seed)
            errors["expected"].append(judged.expected.value - answers.accuracy)
            errors["thresholded"].append(judged.thresholded.value - answers.accuracy)
        row: Row = {"change": name, "accuracy": round(rest.accuracy, 3), "n_windows": N_DRAWS}
        for estimate, values in errors.items():
            row |= {
                f"{estimate}_mean_absolute_error": round(float(np.abs(values).mean()), 3),
                f"{estimate}_bias": round(float(np.mean(values)), 3),
            }
        rows.append(row)
        print(row, flush=True)
    return rows


def main(names: Sequence[str]) -> None:
    digits = RealDigits()
    print(f"accuracy on the own domain {digits.own.accuracy:.3f}", flush=True)
    pools = changed_pools(digits)
    steps: dict[str, Callable[[], list[Row]]] = {
        "drift_power": lambda: power_rows(digits, pools),
        "drift_accuracy": lambda: accuracy_rows(digits, pools),
        "drift_delay": lambda: delay_rows(DIGITS, unchanged(digits), pools),
        "drift_bursts": lambda: burst_rows(digits),
        "drift_null": lambda: null_rows(digits),
        "drift_peers": lambda: peer_rows(DIGITS, digits.own, unchanged(digits), costly(digits, pools)),
    }
    about = {"n_reference": N_REFERENCE, "own_accuracy": digits.own.accuracy, "first_level": FIRST_LEVEL, "hourly_level": HOURLY_LEVEL}
    for name in names or steps:
        started = time.perf_counter()
        rows = steps[name]()
        write_results(name, COMMAND, rows, about | {"seconds": round(time.perf_counter() - started)})


if __name__ == "__main__":
    main(sys.argv[1:])
