"""How often do drift detectors alarm on unchanged traffic, and how often do they find a change?

Run: `python -m benchmarks.drift_false_alarms`. Writes results/drift_false_alarms.csv, one row for each detector, change and window size;
results/drift_false_alarms_by_reference.csv, alarms of many windows against one and the same reference; beside them a .json with the
hardware, the versions, the settings and the time it took; and the table of docs/adr/0003-own-drift-tests.md.

Traffic is scikit-learn's digits (`benchmarks.digits_traffic`): embeddings of 16 dimensions, reference of 500. Every detector sees the same
draws. Evidently's detectors are called as its `EmbeddingsDrift` metric calls them, with their defaults; `evidently_default` is the one that
the metric takes when none is named, a classifier with bootstrap below 1,000 reference rows.
"""

from __future__ import annotations

import csv
import json
import os
import platform
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from benchmarks.digits_traffic import Change, DigitsTraffic, inverted, noisy, shifted_right
from monitoring.alarm_budget import Allowance
from monitoring.decision import judge_window
from monitoring.reference import Reference
from monitoring.signals.embedding import discrepancy_test
from monitoring.window import Window
from pipelines.config import MonitorSection

RESULT = Path(__file__).resolve().parent / "results" / "drift_false_alarms.csv"
BY_REFERENCE = RESULT.with_name("drift_false_alarms_by_reference.csv")
RECORD = RESULT.parents[2] / "docs" / "adr" / "0003-own-drift-tests.md"
CHANGES: dict[str, Change | None] = {"none": None, "inverted": inverted, "noisy": noisy, "shifted_right": shifted_right}
WINDOW_SIZES = (100, 200)
N_DRAWS = {"regraft": {"none": 300, "changed": 40}, "evidently": {"none": 40, "changed": 10}}
LEVEL = 0.05
DEFAULT_LEVEL = 0.01
N_REFERENCES, N_WINDOWS_EACH = 20, 40

Detector = Callable[[Window, Reference], bool]


@dataclass(frozen=True)
class Row:
    """Alarms of one detector on draws of one kind; `low` and `high` are the 95 % Clopper-Pearson interval of the rate."""

    detector: str
    nominal_rate: float | None
    change: str
    n_window: int
    n_reference: int
    n_draws: int
    n_alarms: int
    rate: float
    low: float
    high: float
    seconds_per_window: float


@dataclass(frozen=True)
class ReferenceRow:
    """False alarms of many windows against one reference, at a rate of 5 %."""

    reference_seed: int
    n_window: int
    n_windows: int
    n_alarms: int


def detectors() -> dict[str, tuple[float | None, Detector]]:
    """Name to nominal false-alarm rate (None where the detector has none) and detector."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Evidently imports deprecated names
        from evidently.legacy.metrics.data_drift.embedding_drift_methods import distance, mmd, model, ratio
    return {
        "regraft_verdict_5_percent": (LEVEL, lambda window, reference: _drifted(window, reference, LEVEL)),
        "regraft_verdict_1_percent": (DEFAULT_LEVEL, lambda window, reference: _drifted(window, reference, DEFAULT_LEVEL)),
        "regraft_embedding_alone_5_percent": (LEVEL, _embedding_alone),
        "evidently_default": (LEVEL, _evidently(model(bootstrap=True))),
        "evidently_model": (None, _evidently(model())),
        "evidently_mmd": (None, _evidently(mmd())),
        "evidently_mmd_bootstrap": (LEVEL, _evidently(mmd(bootstrap=True))),
        "evidently_ratio": (None, _evidently(ratio())),
        "evidently_distance": (None, _evidently(distance())),
    }


def _drifted(window: Window, reference: Reference, level: float) -> bool:
    return judge_window(window, reference, MonitorSection(min_window=20), Allowance(level, 0.0)).verdict == "drift"


def _embedding_alone(window: Window, reference: Reference) -> bool:
    return discrepancy_test(reference.embeddings, window.embeddings, 399, np.random.default_rng(0)).p_value <= LEVEL


def _evidently(method: Any) -> Detector:
    def alarmed(window: Window, reference: Reference) -> bool:
        columns = [f"e{number}" for number in range(reference.embeddings.shape[1])]
        tables = (pd.DataFrame(values, columns=columns) for values in (window.embeddings, reference.embeddings))
        return bool(method(*tables)[1])

    return alarmed


def count(digits: DigitsTraffic, name: str, nominal: float | None, detector: Detector, change: str, n_window: int) -> Row:
    n_draws = N_DRAWS[name.split("_")[0]]["none" if change == "none" else "changed"]
    draws = [digits.draw(seed, n_window, change=CHANGES[change]) for seed in range(n_draws)]
    started = time.perf_counter()
    n_alarms = sum(detector(window, reference) for window, reference in draws)
    seconds = (time.perf_counter() - started) / n_draws
    interval = binomtest(n_alarms, n_draws).proportion_ci(0.95, method="exact")
    rate, low, high = (round(float(share), 4) for share in (n_alarms / n_draws, interval.low, interval.high))
    n_reference = draws[0][1].n_samples
    return Row(name, nominal, change, n_window, n_reference, n_draws, n_alarms, rate, low, high, round(seconds, 3))


def one_reference(digits: DigitsTraffic, seed: int, n_window: int) -> ReferenceRow:
    """Windows that are drawn again and again from what one reference left over."""
    rng = np.random.default_rng([seed, 1])
    rest, reference = digits.draw(seed, 700)
    n_alarms = 0
    for _ in range(N_WINDOWS_EACH):
        places = rng.choice(rest.n_requests, n_window, replace=False)
        n_alarms += _drifted(_chosen(rest, places), reference, LEVEL)
    return ReferenceRow(seed, n_window, N_WINDOWS_EACH, n_alarms)


def _chosen(window: Window, places: Any) -> Window:
    return replace(
        window,
        request_ids=tuple(window.request_ids[place] for place in places),
        times=tuple(window.times[place] for place in places),
        embeddings=window.embeddings[places],
        probabilities=window.probabilities[places],
        statistics=window.statistics[places],
        predicted_indices=window.predicted_indices[places],
        domains=tuple(window.domains[place] for place in places),
        true_labels=tuple(window.true_labels[place] for place in places),
    )


def write_rows(rows: Sequence[Row] | Sequence[ReferenceRow], path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(rows[0])], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def write_settings(path: Path, seconds: float) -> None:
    libraries = ("numpy", "scipy", "scikit-learn", "pandas", "evidently")
    content = {
        "command": "python -m benchmarks.drift_false_alarms",
        "date": datetime.now(UTC).date().isoformat(),
        "seconds": round(seconds),
        "hardware": {"machine": platform.machine(), "n_cpus": os.cpu_count(), "system": platform.platform()},
        "versions": {"python": platform.python_version(), **{library: version(library) for library in libraries}},
        "settings": {
            "n_draws": N_DRAWS,
            "window_sizes": WINDOW_SIZES,
            "levels": [LEVEL, DEFAULT_LEVEL],
            "n_references": N_REFERENCES,
            "n_windows_each": N_WINDOWS_EACH,
        },
    }
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def docs_table(csv_text: str) -> str:
    """The table of the decision record: alarms of draws, for each detector."""
    rows = list(csv.DictReader(csv_text.splitlines()))
    columns = {(row["change"], row["n_window"]): f"{row['change'].replace('_', ' ')}, {row['n_window']}" for row in rows}
    lines = ["| detector | " + " | ".join(columns.values()) + " |", "|---" * (len(columns) + 1) + "|"]
    for detector in dict.fromkeys(row["detector"] for row in rows):
        cells = {(row["change"], row["n_window"]): f"{row['n_alarms']} of {row['n_draws']}" for row in rows if row["detector"] == detector}
        lines.append(f"| {detector} | " + " | ".join(cells[column] for column in columns) + " |")
    return "\n".join(lines)


def write_docs() -> None:
    """Replaces the table between the markers of the decision record."""
    start, end = "<!-- drift_false_alarms.csv -->", "<!-- end -->"
    before, rest = RECORD.read_text(encoding="utf-8").split(start)
    after = rest.split(end)[1]
    RECORD.write_text(f"{before}{start}\n{docs_table(RESULT.read_text(encoding='utf-8'))}\n{end}{after}", encoding="utf-8")


def main() -> None:
    started = time.perf_counter()
    digits = DigitsTraffic()
    rows = []
    for name, (nominal, detector) in detectors().items():
        for change in CHANGES:
            for n_window in WINDOW_SIZES if change == "none" else WINDOW_SIZES[-1:]:
                rows.append(count(digits, name, nominal, detector, change, n_window))
                print(asdict(rows[-1]), flush=True)
    write_rows(rows, RESULT)
    write_rows([one_reference(digits, seed, 200) for seed in range(N_REFERENCES)], BY_REFERENCE)
    write_settings(RESULT.with_suffix(".json"), time.perf_counter() - started)
    write_docs()


if __name__ == "__main__":
    main()
