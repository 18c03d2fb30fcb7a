"""Ours and the peers on the same draws, one after the other in one run: `make bench-peers` (over an hour on two quiet cores).

Writes results/transfer.csv (a row for each contender, dataset, number of labels and seed) and results/transfer_summary.csv (paired
differences), anew after each number of labels. All start from the same weights, learn from the same files, choose by the same validation
files. The budget of `auto` is 15 % of the time that the faster peer took on that draw: reading and writing come on top of it.

After a change of ours `--ours-again` measures ours alone beside the peers' rows of the file, with the budgets that follow from them.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from benchmarks.contest.cells import (
    Drawn,
    about_ours_again,
    cell_of,
    cell_options,
    in_order,
    is_wanted,
    other_rows,
    read_rows,
    seeds_of,
)
from benchmarks.contest.processes import contenders, versions_in
from benchmarks.contest.splits import Rows
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
    return parser.parse_args()


def _measure_ours_again(options: argparse.Namespace) -> None:
    """The peers' results stay: same draws, same machine. The result file says that the two were not measured in one run."""
    known = read_rows(options.name)
    rows = CONTEST.without_ours(known, options)
    about = about_ours_again(options)
    everything = commands(options.peers)
    with contenders({name: everything[name] for name in CONTEST.ours}) as everyone:
        for dataset in DATASETS:
            with tempfile.TemporaryDirectory() as folder:
                cells = sorted({cell for cell in map(cell_of, known) if cell[0] == dataset.name and is_wanted(*cell, options)})
                files = dataset.rows(Path(folder)) if cells else []
                for cell in cells:
                    rows += CONTEST.measure_ours_again(cell, known, _drawn(dataset, files, cell[1], options.threads), everyone)
    CONTEST.write(options.name, in_order(rows, NAMES), about)


if __name__ == "__main__":
    main()
