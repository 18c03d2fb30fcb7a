"""Ours and the peers on the same draws, one after the other in one run: `make bench-peers`.

Writes results/transfer.csv (a row for each contender, dataset, number of labels and seed) and results/transfer_summary.csv (paired
differences). All start from the same weights, learn from the same files, choose by the same validation files. `auto` gets a fifth of
the time that the faster peer took on that draw.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from benchmarks.machine import write_results
from benchmarks.transfer.job import Job, Outcome
from benchmarks.transfer.summary import summarise
from benchmarks.transfer.tasks import DATASETS, ROOT, Dataset, Rows, draw

SEEDS = (0, 1, 2, 3, 4)
HERE = Path(__file__).resolve().parent
COMMAND = "make bench-peers"


def main() -> None:
    options = _options()
    rows: list[dict[str, object]] = []
    for dataset in DATASETS:
        if not options.only or dataset.name in options.only:
            with tempfile.TemporaryDirectory() as folder:
                rows += _measure(dataset, dataset.rows(Path(folder)), options)
                write_results(options.name, COMMAND, rows)
    write_results(f"{options.name}_summary", COMMAND, summarise(rows))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--peers", type=Path, default=ROOT / ".regraft" / "peers" / "bin" / "python", help="Python of the peers' environment."
    )
    parser.add_argument("--only", nargs="*", help="Names of datasets.")
    parser.add_argument("--labels", type=int, nargs="*", help="Labels a class.")
    parser.add_argument("--seeds", type=int, default=len(SEEDS))
    parser.add_argument("--name", default="transfer")
    return parser.parse_args()


def _measure(dataset: Dataset, files: Rows, options: argparse.Namespace) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for labels_per_class in dataset.labels_per_class:
        if options.labels and labels_per_class not in options.labels:
            continue
        for seed in SEEDS[: options.seeds]:
            outcomes = _contest(dataset, files, labels_per_class, seed, options.peers)
            job = draw(dataset, files, labels_per_class, seed, 0.0)
            for contender, outcome in outcomes.items():
                rows.append(_row(dataset, labels_per_class, job, contender, outcome))
            shown = " ".join(f"{name} {outcome.accuracy:.3f} ({outcome.seconds:.1f} s)" for name, outcome in outcomes.items())
            print(f"{dataset.name} {labels_per_class} seed {seed}: {shown}", flush=True)
    return rows


def _row(dataset: Dataset, labels_per_class: int, job: Job, contender: str, outcome: Outcome) -> dict[str, object]:
    return {
        "dataset": dataset.name,
        "labels_per_class": labels_per_class,
        "seed": job.seed,
        "contender": contender,
        "accuracy": round(outcome.accuracy, 4),
        "seconds": round(outcome.seconds, 2),
        "note": outcome.note,
        "n_classes": len(job.labels),
        "n_train": len(job.train),
        "n_validation": len(job.validation),
        "n_test": len(job.test),
    }


def _contest(dataset: Dataset, files: Rows, labels_per_class: int, seed: int, peers: Path) -> dict[str, Outcome]:
    job = draw(dataset, files, labels_per_class, seed, budget_seconds=0.0)
    outcomes = {name: _run([str(peers), str(HERE / f"{name}_peer.py")], job) for name in ("fastai", "timm")}
    budget = min(outcome.seconds for outcome in outcomes.values()) / 5
    ours = draw(dataset, files, labels_per_class, seed, budget_seconds=budget)
    outcomes["sklearn"] = _run([sys.executable, "-m", "benchmarks.transfer.sklearn_floor"], job)
    for method in ("probe", "auto", "lp_ft"):
        outcomes[method] = _run([sys.executable, "-m", "benchmarks.transfer.ours"], ours, method)
    return outcomes


def _run(command: list[str], job: Job, *arguments: str) -> Outcome:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "job.json"
        path.write_text(json.dumps(asdict(job)))
        done = subprocess.run([*command, str(path), *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{command[-1]} failed on {job.architecture}, seed {job.seed}:\n{done.stderr[-3000:]}")
        return Outcome(**json.loads(path.with_suffix(".outcome.json").read_text()))


if __name__ == "__main__":
    main()
