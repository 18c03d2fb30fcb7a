"""Ours and the peers on the same draws, one after the other in one run: `make bench-peers` (over an hour on two quiet cores).

Writes results/transfer.csv (a row for each contender, dataset, number of labels and seed) and results/transfer_summary.csv (paired
differences), anew after each number of labels. All start from the same weights, learn from the same files, choose by the same validation
files. The budget of `auto` is 15 % of the time that the faster peer took on that draw: reading and writing come on top of it.

After a change of ours `--ours-again` measures ours alone beside the peers' rows of the file, with the budgets that follow from them.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

from benchmarks.contest.cells import (
    BUDGET_FRAC,
    Drawn,
    Results,
    cell_of,
    cell_options,
    in_order,
    is_wanted,
    other_rows,
    read_rows,
    rows_of,
    seeds_of,
)
from benchmarks.contest.processes import Contender, contenders, versions_in
from benchmarks.contest.splits import Rows
from benchmarks.machine import RESULTS
from benchmarks.transfer.contenders import CONTEST, PEERS_PACKAGES, commands
from benchmarks.transfer.tasks import DATASETS, Dataset, draw

NAMES = [dataset.name for dataset in DATASETS]


def main() -> None:
    options = _options()
    if options.ours_again:
        _measure_ours_again(options)
        return
    rows = other_rows(options)
    about = {"peers_versions": versions_in(options.peers, PEERS_PACKAGES)}
    contest = CONTEST.without(options.without)
    with contenders(commands(options.peers, contest)) as everyone:
        for dataset in DATASETS:
            with tempfile.TemporaryDirectory() as folder:
                wanted = [number for number in dataset.labels_per_class if is_wanted(dataset.name, number, options)]
                files = dataset.rows(Path(folder)) if wanted else []
                for number in wanted:
                    cell = (dataset.name, number)
                    for measured in contest.measure(cell, seeds_of(options), _drawn(dataset, files, number, options.threads), everyone):
                        rows += measured
                        CONTEST.write(options.name, rows, about)


def _drawn(dataset: Dataset, files: Rows, labels_per_class: int, n_threads: int) -> Drawn:
    return lambda seed, budget_seconds: draw(dataset, files, labels_per_class, seed, budget_seconds, n_threads)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    cell_options(parser, "transfer")
    parser.add_argument("--ours-again", action="store_true", help="Measures ours alone, for the cells that the result file has.")
    return parser.parse_args()


def _measure_ours_again(options: argparse.Namespace) -> None:
    """The peers' results stay: same draws, same machine. The result file says that the two were not measured in one run."""
    known = read_rows(options.name)
    rows = [row for row in known if row["contender"] not in CONTEST.ours or not is_wanted(*cell_of(row), options)]
    about = json.loads((RESULTS / f"{options.name}.json").read_text())
    about = {"peers_versions": about["peers_versions"], "ours": "measured again after the peers, in a run of their own"}
    everything = commands(options.peers)
    with contenders({name: everything[name] for name in CONTEST.ours}) as everyone:
        for dataset in DATASETS:
            with tempfile.TemporaryDirectory() as folder:
                cells = sorted({cell_of(row)[1] for row in known if row["dataset"] == dataset.name})
                wanted = [number for number in cells if is_wanted(dataset.name, number, options)]
                files = dataset.rows(Path(folder)) if wanted else []
                for labels_per_class in wanted:
                    rows += _ours(dataset, files, labels_per_class, known, everyone)
    CONTEST.write(options.name, in_order(rows, NAMES), about)


def _ours(dataset: Dataset, files: Rows, labels_per_class: int, known: Results, everyone: Mapping[str, Contender]) -> Results:
    cell = (dataset.name, labels_per_class)
    rows: Results = []
    for seed in sorted({int(str(row["seed"])) for row in known if cell_of(row) == cell}):
        peers = [row for row in known if (*cell_of(row), int(str(row["seed"]))) == (*cell, seed)]
        budget = BUDGET_FRAC * min(float(str(row["seconds"])) for row in peers if row["contender"] in CONTEST.peers)
        job = draw(dataset, files, labels_per_class, seed, budget_seconds=budget)
        rows += rows_of(cell, job, CONTEST.ours_on(job, everyone))
    return rows


if __name__ == "__main__":
    main()
