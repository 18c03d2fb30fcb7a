"""What a retraining costs when 1 % of the samples are new: flowers, MobileNetV2 at 128 and 224 px, `python -m benchmarks.retrain_cost`.

The stages `select` and `train`: a first time with all but 1 % of the training samples and nothing kept, then a second time with all of
them and what the first one kept, in one process each. Writes results/retrain_cost.csv; goal: a share of at most 0.10. Needs ../shared.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path

from benchmarks.machine import spread, write_results
from benchmarks.transfer.job import Job
from benchmarks.transfer.tasks import DATASETS, ROOT, draw

# Rounds of each method. What fine-tunes repeats its fine-tuning; with --methods auto it takes some twenty minutes to see how much that is.
ROUNDS = {"probe": 3, "auto": 1}
LABELS_PER_CLASS = 450
# The files' own size, and the one that the network was trained at.
SIDES_PX = (128, 224)


def main() -> None:
    options = _options()
    rows = []
    for method in options.methods:
        for side_px in SIDES_PX:
            pairs = [_pair(method, options.labels, side_px, seed) for seed in range(ROUNDS[method])]
            rows.append(_row(method, options.labels, side_px, pairs))
            print(rows[-1], flush=True)
    if options.write:
        write_results("retrain_cost", "python -m benchmarks.retrain_cost", rows)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", nargs="*", default=["probe"], choices=list(ROUNDS))
    parser.add_argument("--labels", type=int, default=LABELS_PER_CLASS)
    parser.add_argument("--no-write", dest="write", action="store_false")
    return parser.parse_args()


def _pair(method: str, labels_per_class: int, side_px: int, seed: int) -> tuple[float, float]:
    dataset = next(dataset for dataset in DATASETS if dataset.name == "flowers")
    with tempfile.TemporaryDirectory() as folder:
        whole = draw(dataset, dataset.rows(Path(folder)), labels_per_class, seed, budget_seconds=600.0)
        whole = replace(whole, side_px=side_px)
        # Every hundredth sample is new.
        before = replace(whole, train=[row for number, row in enumerate(whole.train) if number % 100])
        return _seconds(before, method, Path(folder), "first"), _seconds(whole, method, Path(folder), "second")


def _seconds(job: Job, method: str, folder: Path, name: str) -> float:
    path = folder / f"{name}.json"
    path.write_text(json.dumps(asdict(job)))
    command = [sys.executable, "-m", "benchmarks.transfer.ours", method, str(folder / "kept")]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, input=f"{path}\n", text=True)
    return float(json.loads(path.with_suffix(".outcome.json").read_text())["seconds"])


def _row(method: str, labels_per_class: int, side_px: int, pairs: list[tuple[float, float]]) -> dict[str, object]:
    first, second = spread([pair[0] for pair in pairs]), spread([pair[1] for pair in pairs])
    share = spread([pair[1] / pair[0] for pair in pairs])
    return {
        "method": method,
        "labels_per_class": labels_per_class,
        "side_px": side_px,
        "n": share["n"],
        "first_seconds": first["median"],
        "second_seconds": second["median"],
        "share": share["median"],
        "share_min": share["min"],
        "share_max": share["max"],
    }


if __name__ == "__main__":
    main()
