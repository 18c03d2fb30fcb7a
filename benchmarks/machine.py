"""Where numbers came from: hardware and versions, written beside every result."""

from __future__ import annotations

import csv
import importlib.metadata
import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "results"
_PACKAGES = ("prefect", "torch", "timm", "scikit-learn", "numpy", "dvc", "great-expectations", "bentoml", "evidently")


def describe(command: str) -> dict[str, object]:
    """Command, date, processor, cores, load and versions."""
    return {
        "command": command,
        "date": datetime.now(UTC).date().isoformat(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load_1_minute": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in _PACKAGES},
    }


def write_results(name: str, command: str, rows: Sequence[Mapping[str, object]], about: Mapping[str, object] | None = None) -> Path:
    """Writes `results/NAME.csv` and, beside it, `results/NAME.json` with the machine and what else is to be said."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    path.with_suffix(".json").write_text(json.dumps(describe(command) | dict(about or {}), indent=2) + "\n")
    return path


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median with minimum and maximum."""
    return {"n": len(values), "median": round(statistics.median(values), 3), "min": round(min(values), 3), "max": round(max(values), 3)}


def _processor() -> str:
    names = [line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return names[0] if names else platform.machine()
