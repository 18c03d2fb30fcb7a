"""The arithmetic of contests; the contenders themselves need minutes and an environment of their own."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from benchmarks.contest import cells
from benchmarks.contest.cells import Contest, other_rows, read_rows
from benchmarks.contest.job import Draw, Outcome
from benchmarks.contest.processes import Contender
from benchmarks.contest.splits import drawn
from benchmarks.contest.summary import summarise

CONTEST = Contest(peers=("slow", "fast"), floor="floor", ours=("auto",), command="make nothing")
ROWS = [(f"text {number}", "ab"[number % 2]) for number in range(40)]


def test_a_draw_is_balanced_and_no_sample_is_in_two_parts() -> None:
    parts = drawn(ROWS, n_train=5, n_validation=4, n_test=100, seed=3)
    assert {part: len(rows) for part, rows in parts.items()} == {"train": 10, "validation": 8, "test": 22}
    assert all([label for _, label in rows].count("a") == len(rows) / 2 for rows in parts.values())
    samples = [text for rows in parts.values() for text, _ in rows]
    assert len(set(samples)) == len(ROWS)


def test_a_draw_is_that_of_its_seed() -> None:
    assert drawn(ROWS, 5, 4, 3, seed=3) == drawn(ROWS, 5, 4, 3, seed=3)
    assert drawn(ROWS, 5, 4, 3, seed=3) != drawn(ROWS, 5, 4, 3, seed=4)


class Known(Contender):
    """Answers with what it is told; notes the budgets it was given."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome, self.budgets = outcome, list[float]()

    def do(self, job: Draw) -> Outcome:
        self.budgets.append(job.budget_seconds)
        return self.outcome


def drawn_job(seed: int, budget_seconds: float) -> Draw:
    return Draw(["a", "b"], [["x", "a"]], [], [["y", "b"]], seed, 1, budget_seconds)


def test_ours_gets_a_share_of_the_faster_peers_time() -> None:
    seconds = {"slow": 40.0, "fast": 10.0, "floor": 1.0, "auto": 2.0}
    everyone = {name: Known(Outcome(0.5, taken, taken)) for name, taken in seconds.items()}
    rows = [row for rows in CONTEST.measure(("d", 8), (0, 1), drawn_job, everyone) for row in rows]
    assert everyone["auto"].budgets == [1.5, 1.5]
    assert [(row["seed"], row["contender"]) for row in rows] == [(seed, name) for seed in (0, 1) for name in seconds]


def test_a_peer_that_is_left_out_sets_no_budget() -> None:
    everyone = {name: Known(Outcome(0.5, 40.0, 40.0)) for name in ("slow", "floor", "auto")}
    list(CONTEST.without(["fast"]).measure(("d", 8), (0,), drawn_job, everyone))
    assert everyone["auto"].budgets == [6.0]


def row(contender: str, seed: int, accuracy: float, cpu_seconds: object, labels: int = 8) -> dict[str, object]:
    named = {"dataset": "d", "labels_per_class": labels, "seed": seed, "contender": contender}
    return named | {"accuracy": accuracy, "seconds": 2.0, "cpu_seconds": cpu_seconds}


def test_the_difference_is_paired_and_to_the_better_peer() -> None:
    accuracies = {"slow": (0.5, 0.6, 0.9), "fast": (0.6, 0.5, 0.5), "floor": (0.4,) * 3, "auto": (0.55, 0.7, 0.85)}
    rows = [
        row(name, seed, value, 4.0 if name == "slow" else 1.0) for name, found in accuracies.items() for seed, value in enumerate(found)
    ]
    (line,) = summarise(rows, CONTEST.peers, CONTEST.floor, CONTEST.ours)
    differences = np.subtract(accuracies["auto"], accuracies["slow"])
    low, high = stats.t.interval(0.95, 2, differences.mean(), stats.sem(differences))
    assert line["best_peer"] == "slow"
    assert (line["difference_mean"], line["difference_low"], line["difference_high"]) == pytest.approx(
        (differences.mean(), low, high), abs=1e-4
    )
    assert line["cpu_share_of_best_peer"] == 0.25


def test_rows_of_older_files_have_no_share_of_the_processor() -> None:
    rows = [row(name, 0, 0.5, "") for name in (*CONTEST.peers, "floor", "auto")]
    (line,) = summarise(rows, CONTEST.peers, CONTEST.floor, CONTEST.ours)
    assert line["cpu_share_of_best_peer"] == ""
    assert line["time_share_of_best_peer"] == 1.0


def test_ours_again_has_the_budgets_of_the_peers_rows() -> None:
    known = [row(name, seed, 0.5, 1.0) | {"seconds": 20.0 + 20 * seed} for seed in (0, 1) for name in (*CONTEST.peers, "floor", "auto")]
    auto = Known(Outcome(0.75, 2.0, 2.0))
    rows = CONTEST.measure_ours_again(("d", 8), known, drawn_job, {"auto": auto})
    assert auto.budgets == [3.0, 6.0]
    assert [(one["seed"], one["contender"], one["accuracy"]) for one in rows] == [(0, "auto", 0.75), (1, "auto", 0.75)]
    options = argparse.Namespace(only=["d"], labels=None)
    assert {one["contender"] for one in CONTEST.without_ours(known, options)} == {*CONTEST.peers, "floor"}


def test_adding_replaces_what_is_measured_now_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells, "RESULTS", tmp_path)
    monkeypatch.setattr("benchmarks.machine.RESULTS", tmp_path)
    rows = [row(name, seed, 0.5, 1.0, labels) for labels in (8, 64) for seed in (0, 1) for name in (*CONTEST.peers, "floor", "auto")]
    CONTEST.write("known", rows, {})
    options = argparse.Namespace(name="known", only=None, labels=[8], add=True, first_seed=1, seeds=5)
    kept = other_rows(options)
    assert {(str(one["labels_per_class"]), str(one["seed"])) for one in kept} == {("8", "0"), ("64", "0"), ("64", "1")}
    assert len(read_rows("known_summary")) == 2
    options.add = False
    assert other_rows(options) == []
