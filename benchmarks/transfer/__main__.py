"""Ours and the peers on the same draws, one after the other in one run: `make bench-peers` (over an hour on two quiet cores).

Writes results/transfer.csv (a row for each contender, dataset, number of labels and seed) and results/transfer_summary.csv (paired
differences), anew after each number of labels. All start from the same weights, learn from the same files, choose by the same validation
files. The budget of `auto` is 15 % of the time that the faster peer took on that draw: reading and writing come on top of it.

After a change of ours `--ours-again` measures ours alone beside the peers' rows of the file, with the budgets that follow from them.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

from benchmarks.machine import RESULTS, write_results
from benchmarks.transfer.contenders import OURS, PEERS, Contender, contenders, peers_versions
from benchmarks.transfer.job import Job, Outcome
from benchmarks.transfer.summary import summarise
from benchmarks.transfer.tasks import DATASETS, ROOT, Dataset, Rows, draw

SEEDS = (0, 1, 2, 3, 4)
BUDGET_FRAC = 0.15
COMMAND = "make bench-peers"
Results = list[dict[str, object]]


def main() -> None:
    options = _options()
    if options.ours_again:
        _measure_ours_again(options)
        return
    rows = _others(options) if options.add else []
    about = {"peers_versions": peers_versions(options.peers)}
    with contenders(options.peers) as everyone:
        for dataset in DATASETS:
            with tempfile.TemporaryDirectory() as folder:
                wanted = [number for number in dataset.labels_per_class if _is_wanted(dataset.name, number, options)]
                files = dataset.rows(Path(folder)) if wanted else []
                for labels_per_class in wanted:
                    rows += _measure(dataset, files, labels_per_class, options.seeds, everyone)
                    write_results(options.name, COMMAND, rows, about)
                    write_results(f"{options.name}_summary", COMMAND, summarise(rows), about)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--peers", type=Path, default=ROOT / ".regraft" / "peers" / "bin" / "python", help="Python of the peers' environment."
    )
    parser.add_argument("--only", nargs="*", help="Names of datasets.")
    parser.add_argument("--labels", type=int, nargs="*", help="Labels a class.")
    parser.add_argument("--add", action="store_true", help="Keeps the cells that the result file has and that are not measured now.")
    parser.add_argument("--ours-again", action="store_true", help="Measures ours alone, for the cells that the result file has.")
    parser.add_argument("--seeds", type=int, default=len(SEEDS))
    parser.add_argument("--name", default="transfer")
    return parser.parse_args()


def _others(options: argparse.Namespace) -> Results:
    return [row for row in _read(options.name) if not _is_wanted(str(row["dataset"]), _labels(row), options)]


def _is_wanted(dataset: str, labels_per_class: int, options: argparse.Namespace) -> bool:
    return (not options.only or dataset in options.only) and (not options.labels or labels_per_class in options.labels)


def _measure(dataset: Dataset, files: Rows, labels_per_class: int, n_seeds: int, everyone: Mapping[str, Contender]) -> Results:
    rows: Results = []
    for seed in SEEDS[:n_seeds]:
        job = draw(dataset, files, labels_per_class, seed, budget_seconds=0.0)
        outcomes = {name: everyone[name].do(job) for name in (*PEERS, "sklearn")}
        budget = BUDGET_FRAC * min(outcomes[peer].seconds for peer in PEERS)
        ours = draw(dataset, files, labels_per_class, seed, budget_seconds=budget)
        outcomes |= {name: everyone[name].do(ours) for name in OURS}
        rows += [_row(dataset, labels_per_class, job, contender, outcome) for contender, outcome in outcomes.items()]
        shown = " ".join(f"{name} {outcome.accuracy:.3f} ({outcome.seconds:.1f} s)" for name, outcome in outcomes.items())
        print(f"{dataset.name} {labels_per_class} seed {seed}: {shown}", flush=True)
    return rows


def _measure_ours_again(options: argparse.Namespace) -> None:
    """The peers' results stay: same draws, same machine. The result file says that the two were not measured in one run."""
    known = _read(options.name)
    rows = [row for row in known if row["contender"] not in OURS or not _is_wanted(str(row["dataset"]), _labels(row), options)]
    about = json.loads((RESULTS / f"{options.name}.json").read_text())
    about = {"peers_versions": about["peers_versions"], "ours": "measured again after the peers, in a run of their own"}
    with contenders(options.peers, OURS) as everyone:
        for dataset in DATASETS:
            with tempfile.TemporaryDirectory() as folder:
                cells = sorted({_labels(row) for row in known if row["dataset"] == dataset.name})
                wanted = [number for number in cells if _is_wanted(dataset.name, number, options)]
                files = dataset.rows(Path(folder)) if wanted else []
                for labels_per_class in wanted:
                    rows += _ours(dataset, files, labels_per_class, known, everyone)
    rows.sort(key=lambda row: ([dataset.name for dataset in DATASETS].index(str(row["dataset"])), _labels(row), int(str(row["seed"]))))
    write_results(options.name, COMMAND, rows, about)
    write_results(f"{options.name}_summary", COMMAND, summarise(rows), about)


def _ours(dataset: Dataset, files: Rows, labels_per_class: int, known: Results, everyone: Mapping[str, Contender]) -> Results:
    rows: Results = []
    for seed in sorted({int(str(row["seed"])) for row in known if _cell(row) == (dataset.name, labels_per_class)}):
        peers = [row for row in known if (*_cell(row), int(str(row["seed"]))) == (dataset.name, labels_per_class, seed)]
        budget = BUDGET_FRAC * min(float(str(row["seconds"])) for row in peers if row["contender"] in PEERS)
        job = draw(dataset, files, labels_per_class, seed, budget_seconds=budget)
        outcomes = {name: everyone[name].do(job) for name in OURS}
        rows += [_row(dataset, labels_per_class, job, contender, outcome) for contender, outcome in outcomes.items()]
        shown = " ".join(f"{name} {outcome.accuracy:.3f} ({outcome.seconds:.1f} s)" for name, outcome in outcomes.items())
        print(f"{dataset.name} {labels_per_class} seed {seed}: {shown}", flush=True)
    return rows


def _read(name: str) -> Results:
    with (RESULTS / f"{name}.csv").open(newline="") as file:
        return [dict(row) for row in csv.DictReader(file)]


def _labels(row: Mapping[str, object]) -> int:
    return int(str(row["labels_per_class"]))


def _cell(row: Mapping[str, object]) -> tuple[str, int]:
    return str(row["dataset"]), _labels(row)


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


if __name__ == "__main__":
    main()
