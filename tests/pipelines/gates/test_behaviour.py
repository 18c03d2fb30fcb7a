"""The gate on results of the team's tests; tests/pipelines/test_behaviour_answers.py asks real bundles."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.behaviour_answers import InputResult, TestResult
from pipelines.config import BehaviourGate
from pipelines.core.bundle import canonical_json
from pipelines.gates.behaviour import behaviour

RULE = BehaviourGate(kind="behaviour")


def result(name: str, passed: list[bool], n_needed: int) -> TestResult:
    inputs = tuple(InputResult(file=f"{row}.png", sha256="0" * 64, passed=ok, said="cat, then dog") for row, ok in enumerate(passed))
    return TestResult(name=name, asked="the same answer after flip horizontal", n_needed=n_needed, inputs=inputs)


def written(folder: Path, *results: TestResult) -> Path:
    (folder / "behaviour.json").write_bytes(canonical_json([one.model_dump(mode="json") for one in results]))
    return folder


def test_every_test_is_a_condition_and_a_failing_one_is_named(tmp_path: Path) -> None:
    good, bad = behaviour(RULE, written(tmp_path, result("sevens", [True] * 3, 3), result("mirrored cats", [True, False, True], 3)))
    assert (good.outcome, bad.outcome) == ("pass", "refuse")
    assert bad.condition == "mirrored cats: the same answer after flip horizontal"
    assert bad.reason == "2 of 3 inputs give the same answer after flip horizontal, and 3 must; 1.png gives cat, then dog."
    assert (bad.statistic, bad.threshold, bad.n) == (pytest.approx(2 / 3), 1.0, 3)
    assert bad.detail["failed"][0]["file"] == "1.png"  # type: ignore[index, call-overload]


@pytest.mark.parametrize(("n_needed", "outcome"), [(1, "pass"), (2, "pass"), (3, "refuse")])
def test_the_share_decides(tmp_path: Path, n_needed: int, outcome: str) -> None:
    (decision,) = behaviour(RULE, written(tmp_path, result("cats", [True, False, True], n_needed)))
    assert decision.outcome == outcome


def test_ten_failures_are_shown(tmp_path: Path) -> None:
    (decision,) = behaviour(RULE, written(tmp_path, result("cats", [False] * 30, 30)))
    assert len(decision.detail["failed"]) == 10  # type: ignore[arg-type]
