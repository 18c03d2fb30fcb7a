"""Slices: which groups there are, both questions, small groups, and the error rate of all pairs together."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from pipelines.answers import TestAnswers
from pipelines.config import SlicesGate
from pipelines.core.errors import ConfigurationError
from pipelines.gates.slices import slices
from pipelines.unpaired_exact import GroupCounts, lag_p_value


def rule(**changes: object) -> SlicesGate:
    return SlicesGate.model_validate({"kind": "slices", "floor": 0.8, **changes})


@pytest.fixture(scope="session")
def of_groups(answers):
    """Answers with the given right ones and samples of each domain."""

    def make(**groups: tuple[int, int]) -> TestAnswers:
        names = np.repeat(list(groups), [n for _, n in groups.values()])
        return answers(np.concatenate([np.arange(n) < n_correct for n_correct, n in groups.values()]), names)

    return make


def test_the_weakest_group_decides(of_groups) -> None:
    (decision,) = slices(rule(), of_groups(old=(95, 100), new=(84, 100)))
    assert decision.outcome == "refuse"
    assert (decision.statistic, decision.n, decision.threshold) == (0.84, 200, 0.8)
    assert decision.low == pytest.approx(binomtest(84, 100).proportion_ci(0.9).low)
    assert decision.p_value == pytest.approx(binomtest(84, 100, 0.8, alternative="greater").pvalue)
    assert "the lowest bound is that of 'new': 84 % of 100 are right" in decision.reason
    assert "an accuracy of at least 80 % is not shown of new." in decision.reason
    assert slices(rule(), of_groups(old=(95, 100), new=(94, 100)))[0].outcome == "pass"


def test_an_average_that_hides_a_group_does_not_pass(of_groups) -> None:
    hidden = of_groups(large=(990, 1000), left_behind=(20, 60))
    assert hidden.correct.mean() > 0.95
    (decision,) = slices(rule(), hidden)
    assert decision.outcome == "refuse"


def test_gaps_are_asked_of_all_pairs(of_groups) -> None:
    found = slices(rule(floor=None, max_gap=0.05), of_groups(a=(970, 1000), b=(965, 1000), c=(900, 1000)))
    (decision,) = found
    assert decision.outcome == "refuse"
    assert (decision.statistic, decision.condition) == (
        pytest.approx(0.07),
        "a difference of at most 5 points between any two groups of domain",
    )
    assert "'a' against 'c': +7.00 points" in decision.reason
    assert "is not shown of 'a' against 'c', 'b' against 'c'." in decision.reason
    (decision,) = slices(rule(floor=None, max_gap=0.05), of_groups(a=(970, 1000), b=(965, 1000), c=(966, 1000)))
    assert decision.outcome == "pass"
    assert decision.p_value == pytest.approx(lag_p_value(GroupCounts(970, 1000), GroupCounts(965, 1000), 0.05))
    assert decision.high is not None
    assert 0.005 < decision.high <= 0.05


def test_both_questions_are_asked_of_every_column(of_groups) -> None:
    answers = of_groups(a=(480, 500), b=(480, 500))
    sliced = dataclasses.replace(answers, slices={"scanner": np.array(["x", "y"] * 500)})
    found = slices(rule(by=["domain", "scanner"], max_gap=0.1), sliced)
    assert [(decision.detail["column"], decision.outcome) for decision in found] == [
        ("domain", "pass"),
        ("domain", "pass"),
        ("scanner", "pass"),
        ("scanner", "pass"),
    ]
    assert len({decision.condition for decision in found}) == 4


def test_small_groups_refuse_or_are_reported(of_groups) -> None:
    answers = of_groups(old=(95, 100), tiny=(0, 7))
    (decision,) = slices(rule(), answers)
    assert decision.outcome == "insufficient_data"
    assert "Groups with fewer than 30 samples: 'tiny' (7)." in decision.reason
    (decision,) = slices(rule(small="report"), answers)
    assert decision.outcome == "pass"
    assert "'tiny' (7)" in decision.reason
    assert decision.detail["groups"] == {"old": {"n_correct": 95, "n": 100}, "tiny": {"n_correct": 0, "n": 7}}
    assert slices(rule(), of_groups(old=(50, 100), tiny=(0, 7)))[0].outcome == "refuse"


def test_only_small_groups_show_nothing(of_groups) -> None:
    for asked in ({"floor": 0.5}, {"floor": None, "max_gap": 0.5}):
        (decision,) = slices(rule(small="report", **asked), of_groups(a=(9, 9), b=(9, 9)))
        assert decision.outcome == "insufficient_data"


def test_too_few_samples_for_what_is_asked_are_no_data(of_groups) -> None:
    (decision,) = slices(rule(floor=0.95), of_groups(a=(100, 100), b=(40, 40)))
    assert decision.outcome == "insufficient_data"
    assert "b have too few samples to show an accuracy of at least 95 %" in decision.reason
    (decision,) = slices(rule(floor=None, max_gap=0.02), of_groups(a=(40, 40), b=(40, 40)))
    assert decision.outcome == "insufficient_data"
    assert "have too few samples to show a difference of at most 2 points" in decision.reason


def test_one_group_has_nothing_to_differ_from(of_groups) -> None:
    assert slices(rule(floor=None, max_gap=0.05), of_groups(a=(90, 100)))[0].outcome == "pass"
    (decision,) = slices(rule(floor=None, max_gap=0.05, small="report"), of_groups(a=(90, 100), b=(3, 4)))
    assert decision.outcome == "insufficient_data"
    assert "fewer than two groups" in decision.reason


def test_labels_are_groups(answers) -> None:
    found = answers(np.arange(200) % 10 > 0, labels=["cat", "dog"] * 100)
    (decision,) = slices(rule(by=["label"]), found)
    assert decision.detail["groups"] == {"cat": {"n_correct": 80, "n": 100}, "dog": {"n_correct": 100, "n": 100}}
    assert decision.outcome == "refuse"


def test_a_sample_with_several_labels_is_in_several_groups(answers) -> None:
    texts = np.array(["cat", "cat|dog", ""] * 40)
    found = dataclasses.replace(answers([True] * 120), labels=texts, predicted=texts, labels_per_sample="many", exclusive=False)
    (decision,) = slices(rule(by=["label"]), found)
    assert {name: count["n"] for name, count in decision.detail["groups"].items()} == {"(no label)": 40, "cat": 80, "dog": 40}
    assert decision.n == 120


def test_samples_without_a_value_are_in_no_group(answers) -> None:
    found = dataclasses.replace(answers([True] * 50 + [False] * 50), slices={"scanner": np.array(["x"] * 50 + [""] * 50)})
    (decision,) = slices(rule(by=["scanner"]), found)
    assert (decision.outcome, decision.n, decision.detail["n_without_value"]) == ("pass", 50, 50)
    nothing = dataclasses.replace(found, slices={"scanner": np.full(100, "")})
    assert [decision.outcome for decision in slices(rule(by=["scanner"], max_gap=0.1), nothing)] == ["insufficient_data"] * 2


def test_an_unknown_column_is_wrong_use(answers) -> None:
    found = dataclasses.replace(answers([True] * 50), slices={"scanner": np.full(50, "x")})
    with pytest.raises(ConfigurationError, match=r"slices by 'age'.*domain, label, scanner"):
        slices(rule(by=["age"]), found)


def most_by_chance(n_draws: int, rate: float) -> int:
    return int(binom.isf(1e-5, n_draws, rate))


@pytest.mark.slow
@pytest.mark.parametrize(("behind", "n_behind"), [(0.85, 100), (0.6, 300)])
def test_wrong_passes_of_a_gap_stay_within_the_level(of_groups, behind: float, n_behind: int) -> None:
    """Behind by exactly the gap; the reverse is sure to hold, which is the worst case."""
    rng, n_draws, gap = np.random.default_rng(1), 300, 0.1
    gate_rule, n_passed = rule(floor=None, max_gap=gap), 0
    for _ in range(n_draws):
        groups = {"a": (int(rng.binomial(300, behind + gap)), 300), "b": (int(rng.binomial(n_behind, behind)), n_behind)}
        n_passed += slices(gate_rule, of_groups(**groups))[0].outcome == "pass"
    assert n_passed <= most_by_chance(n_draws, 0.05)


@pytest.mark.parametrize("level", [0.9, 0.95])
def test_wrong_passes_of_a_floor_stay_within_the_level(of_groups, level: float) -> None:
    rng, n_draws = np.random.default_rng(2), 400
    gate_rule, n_passed = rule(level=level), 0
    for _ in range(n_draws):
        found = of_groups(a=(int(rng.binomial(200, 0.97)), 200), border=(int(rng.binomial(200, 0.8)), 200), c=(200, 200))
        n_passed += slices(gate_rule, found)[0].outcome == "pass"
    assert n_passed <= most_by_chance(n_draws, 1 - level)
    assert n_passed > 0  # the other groups are no obstacle
