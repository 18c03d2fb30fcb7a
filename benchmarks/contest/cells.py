"""The cells of a contest (a dataset with a number of labels a class): measured one after the other, each draw written when it is done."""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.contest.job import Draw, Outcome
from benchmarks.contest.processes import PEERS_PYTHON, Contender
from benchmarks.contest.summary import summarise
from benchmarks.machine import RESULTS, write_results

SEEDS = (0, 1, 2, 3, 4)
BUDGET_FRAC = 0.15
Results = list[dict[str, object]]
# Of a seed and a budget in seconds.
Drawn = Callable[[int, float], Draw]


@dataclass(frozen=True)
class Contest:
    """Who competes, and how the result files are called.

    Attributes:
        peers: Their names; the fastest of them sets the budget.
        floor: Neither a peer nor ours.
        ours: Names of those that get the budget.
        command: That makes the files.
    """

    peers: tuple[str, ...]
    floor: str
    ours: tuple[str, ...]
    command: str

    def without(self, peers: Sequence[str]) -> Contest:
        """The same without these peers."""
        return replace(self, peers=tuple(peer for peer in self.peers if peer not in peers))

    def measure(self, cell: tuple[str, int], seeds: Sequence[int], drawn: Drawn, everyone: Mapping[str, Contender]) -> Iterator[Results]:
        """Everyone on each draw of a cell, in turn; ours come last, since their budget is a share of the faster peer's time."""
        for seed in seeds:
            outcomes = {name: everyone[name].do(drawn(seed, 0.0)) for name in (*self.peers, self.floor)}
            outcomes |= self.ours_on(drawn(seed, self.budget(outcomes)), everyone)
            yield rows_of(cell, drawn(seed, 0.0), outcomes)

    def measure_ours_again(self, cell: tuple[str, int], known: Results, drawn: Drawn, everyone: Mapping[str, Contender]) -> Results:
        """Ours on the draws of a cell that the result file has, with the budgets that follow from the peers' rows there."""
        rows: Results = []
        for seed in sorted({int(str(row["seed"])) for row in known if cell_of(row) == cell}):
            peers = [row for row in known if (*cell_of(row), int(str(row["seed"]))) == (*cell, seed) and row["contender"] in self.peers]
            job = drawn(seed, BUDGET_FRAC * min(float(str(row["seconds"])) for row in peers))
            rows += rows_of(cell, job, self.ours_on(job, everyone))
        return rows

    def without_ours(self, known: Results, options: argparse.Namespace) -> Results:
        """What stays when ours are measured again."""
        return [row for row in known if row["contender"] not in self.ours or not is_wanted(*cell_of(row), options)]

    def budget(self, outcomes: Mapping[str, Outcome]) -> float:
        """Seconds."""
        return BUDGET_FRAC * min(outcomes[peer].seconds for peer in self.peers)

    def ours_on(self, job: Draw, everyone: Mapping[str, Contender]) -> dict[str, Outcome]:
        """By name."""
        return {name: everyone[name].do(job) for name in self.ours}

    def write(self, name: str, rows: Results, about: Mapping[str, object]) -> None:
        """The rows, and what they say."""
        write_results(name, self.command, rows, about)
        write_results(f"{name}_summary", self.command, summarise(rows, self.peers, self.floor, self.ours), about)


def cell_options(parser: argparse.ArgumentParser, name: str) -> None:
    """Options of every contest."""
    parser.add_argument("--peers", type=Path, default=PEERS_PYTHON, help="Python of the peers' environment.")
    parser.add_argument("--only", nargs="*", help="Names of datasets.")
    parser.add_argument("--labels", type=int, nargs="*", help="Labels a class.")
    parser.add_argument("--without", nargs="*", default=[], help="Names of peers that would take too long in these cells.")
    parser.add_argument("--add", action="store_true", help="Keeps what the result file has and what is not measured now.")
    parser.add_argument("--seeds", type=int, default=len(SEEDS))
    parser.add_argument("--ours-again", action="store_true", help="Measures ours alone, for the cells that the result file has.")
    parser.add_argument("--first-seed", type=int, default=0, help="Goes on from there.")
    parser.add_argument("--threads", type=int, default=2, help="Of each contender.")
    parser.add_argument("--name", default=name)


def seeds_of(options: argparse.Namespace) -> tuple[int, ...]:
    """To measure now."""
    return SEEDS[options.first_seed : options.seeds]


def other_rows(options: argparse.Namespace) -> Results:
    """Rows of the result file that are not measured now; none without --add."""
    known = read_rows(options.name) if options.add else []
    return [row for row in known if not (is_wanted(*cell_of(row), options) and int(str(row["seed"])) in seeds_of(options))]


def is_wanted(dataset: str, labels_per_class: int, options: argparse.Namespace) -> bool:
    """Whether the options ask for this cell."""
    return (not options.only or dataset in options.only) and (not options.labels or labels_per_class in options.labels)


def read_rows(name: str) -> Results:
    """Of a result file; none where there is no such file."""
    path = RESULTS / f"{name}.csv"
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        # Files from before processor time was measured have no such column.
        return [row | {"cpu_seconds": row.get("cpu_seconds", "")} for row in csv.DictReader(file)]


def about_ours_again(options: argparse.Namespace) -> dict[str, object]:
    """What the result file says of the machine stays; that the two were not measured in one run is added."""
    known = json.loads((RESULTS / f"{options.name}.json").read_text())
    kept = {name: known[name] for name in ("peers_versions", "settings", "measured") if name in known}
    return kept | {"ours": "measured again after the peers, in a run of their own"}


def in_order(rows: Results, datasets: Sequence[str]) -> Results:
    """By dataset, number of labels and seed."""
    return sorted(rows, key=lambda row: (datasets.index(cell_of(row)[0]), cell_of(row)[1], int(str(row["seed"]))))


def cell_of(row: Mapping[str, object]) -> tuple[str, int]:
    """Dataset and number of labels a class."""
    return str(row["dataset"]), int(str(row["labels_per_class"]))


def rows_of(cell: tuple[str, int], job: Draw, outcomes: Mapping[str, Outcome]) -> Results:
    """A row for each contender; says them, too."""
    shown = " ".join(
        f"{name} {outcome.accuracy:.3f} ({outcome.seconds:.1f} s, {outcome.cpu_seconds:.1f} of the processor)"
        for name, outcome in outcomes.items()
    )
    print(f"{cell[0]} {cell[1]} seed {job.seed}: {shown}", flush=True)
    return [_row(cell, job, contender, outcome) for contender, outcome in outcomes.items()]


def _row(cell: tuple[str, int], job: Draw, contender: str, outcome: Outcome) -> dict[str, object]:
    return {
        "dataset": cell[0],
        "labels_per_class": cell[1],
        "seed": job.seed,
        "contender": contender,
        "accuracy": round(outcome.accuracy, 4),
        "seconds": round(outcome.seconds, 2),
        "cpu_seconds": round(outcome.cpu_seconds, 2),
        "note": outcome.note,
        "n_classes": len(job.labels),
        "n_train": len(job.train),
        "n_validation": len(job.validation),
        "n_test": len(job.test),
    }
