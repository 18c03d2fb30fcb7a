from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipelines.answers import TestAnswers
from pipelines.config import LeakageGate
from pipelines.core.bundle import canonical_json
from pipelines.core.errors import ConfigurationError, IntegrityError
from pipelines.gates.judge import judge
from pipelines.gates.leakage import leakage
from pipelines.near_duplicates import NearDuplicates, write_pairs


def pair(path: str, other: str, split: str = "test", other_split: str = "train", difference: float = 0.01) -> NearDuplicates:
    return NearDuplicates(path, other, split, other_split, "a", "a", difference)


def written(out: Path, *pairs: NearDuplicates, n_test: int = 50) -> Path:
    write_pairs(pairs, out / "near_duplicates.csv")
    (out / "near_duplicates.json").write_bytes(canonical_json({"n_samples": 200, "n_test": n_test, "n_pairs": len(pairs)}))
    return out


def rule(max_pairs: int = 0) -> LeakageGate:
    return LeakageGate(kind="leakage", max_pairs=max_pairs)


def test_without_copies_it_passes(tmp_path: Path) -> None:
    decision = leakage(rule(), written(tmp_path, pair("a.png", "b.png", "train", "validation"), pair("c.png", "d.png", other_split="test")))
    assert (decision.outcome, decision.statistic, decision.n, decision.threshold) == ("pass", 0, 50, 0)
    assert decision.reason == "none of 50 test samples looks like one that was learnt from."


@pytest.mark.parametrize("other_split", ["train", "validation"])
def test_one_copy_that_was_learnt_from_refuses_and_is_named(tmp_path: Path, other_split: str) -> None:
    decision = leakage(rule(), written(tmp_path, pair("a.png", "b.png", other_split=other_split)))
    assert (decision.outcome, decision.statistic) == ("refuse", 1)
    assert decision.reason == (
        f"1 of 50 test samples has a near-duplicate that was learnt from, and 0 may: a.png and b.png ({other_split}). "
        "Give both of a pair the same group in the labels table, or drop one: the run's audit shows them."
    )


def test_a_test_sample_counts_once_by_its_nearest_copy(tmp_path: Path) -> None:
    out = written(tmp_path, pair("a.png", "far.png", difference=0.02), pair("a.png", "near.png"), pair("b.png", "far.png"))
    decision = leakage(rule(1), out)
    assert (decision.outcome, decision.statistic) == ("refuse", 2)
    assert decision.detail["pairs"] == [["a.png", "near.png", "train", 0.01], ["b.png", "far.png", "train", 0.01]]


@pytest.mark.parametrize(("max_pairs", "outcome"), [(11, "refuse"), (12, "pass"), (13, "pass")])
def test_the_count_is_exact_and_ten_pairs_are_named(tmp_path: Path, max_pairs: int, outcome: str) -> None:
    decision = leakage(rule(max_pairs), written(tmp_path, *(pair(f"{n:02d}.png", "x.png") for n in range(12))))
    assert decision.outcome == outcome
    assert decision.reason.count(" and x.png (train)") == 10
    assert "; and 2 more." in decision.reason


def test_an_output_that_lost_rows_is_an_error_and_no_pass(tmp_path: Path) -> None:
    out = written(tmp_path, pair("a.png", "b.png"))
    lines = (out / "near_duplicates.csv").read_text().splitlines()
    (out / "near_duplicates.csv").write_text(lines[0] + "\n")
    with pytest.raises(IntegrityError, match=r"near-duplicates in .* that cannot be read.*Next: remove that folder"):
        leakage(rule(), out)


@pytest.mark.parametrize("damage", ["near_duplicates.csv", "near_duplicates.json"])
def test_an_output_that_cannot_be_read_is_an_error_and_no_pass(tmp_path: Path, damage: str) -> None:
    out = written(tmp_path, pair("a.png", "b.png"))
    for spoil in (lambda: (out / damage).write_text("{}"), (out / damage).unlink):
        spoil()
        with pytest.raises(IntegrityError, match=r"near-duplicates in .* that cannot be read.*Next: remove that folder"):
            leakage(rule(), out)


def test_the_judge_asks_it_and_does_not_pass_without_the_stage(tmp_path: Path) -> None:
    names = np.array([f"{number:064x}" for number in range(3)])
    answers = TestAnswers(names, np.full(3, "default"), np.full(3, "a"), np.full(3, "a"), np.full(3, 0.9))
    out = written(tmp_path, pair("a.png", "b.png"))
    judgement = judge([rule()], candidate=answers, bundle=tmp_path, champion=None, measured={"leakage": out})
    assert not judgement.promote
    assert [decision.outcome for decision in judgement.decisions] == ["refuse"]
    with pytest.raises(ConfigurationError, match="a gate leakage without the output of the stage that it rests on"):
        judge([rule()], candidate=answers, bundle=tmp_path, champion=None)
