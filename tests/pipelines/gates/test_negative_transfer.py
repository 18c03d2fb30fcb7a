"""The gate on made-up answers; tests/pipelines/test_gate_stages.py has real networks, one of them with a backbone that hurts."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.answers import TestAnswers
from pipelines.baselines import Baseline, Baselines
from pipelines.config import NegativeTransferGate
from pipelines.gates.decision import Decision
from pipelines.gates.negative_transfer import negative_transfer
from tests.pipelines.gates.test_error_rates import draws, most_by_chance

N = 400
LABELS = ["cat", "dog"] * (N // 2)


def rule(**changes: object) -> NegativeTransferGate:
    return NegativeTransferGate.model_validate({"kind": "negative_transfer", **changes})


def right(n_right: int) -> np.ndarray:
    return np.arange(N) < n_right


@pytest.fixture
def decide(answers):
    """The three decisions on a candidate and baselines with so many right answers; None for a baseline that is the candidate itself."""

    def baseline(n_right: int | str | None) -> Baseline:
        if isinstance(n_right, int):
            return Baseline("trained", "", answers(right(n_right), labels=LABELS))
        return Baseline("same", "", None) if n_right is None else Baseline("failed", n_right, None)

    def make(candidate: int, scratch: int | str | None, probe: int | str | None, **changes: object) -> tuple[Decision, ...]:
        baselines = Baselines(baseline(scratch), baseline(probe), "cat", 0.5)
        return negative_transfer(rule(**changes), answers(right(candidate), labels=LABELS), baselines)

    return make


def outcomes(decisions: tuple[Decision, ...]) -> list[str]:
    return [decision.outcome for decision in decisions]


def test_a_transfer_that_helps_passes_all_three(decide) -> None:
    decisions = decide(380, 340, 375)
    assert outcomes(decisions) == ["pass", "pass", "pass"]
    assert len({decision.condition for decision in decisions}) == 3
    assert [decision.detail["accuracy_compared_with"] for decision in decisions] == [0.85, 0.5, 0.9375]


@pytest.mark.parametrize("scratch", [380, 370])
def test_a_transfer_that_hurts_or_brings_nothing_is_refused(decide, scratch: int) -> None:
    assert outcomes(decide(370, scratch, 370)) == ["refuse", "pass", "pass"]


def test_a_candidate_that_knows_the_commonest_label_only_is_refused(answers) -> None:
    labels = np.array(["cat"] * 300 + ["dog"] * 100)
    always_cat = TestAnswers(
        ids=np.array([f"id{row:05}" for row in range(N)]),
        domains=np.full(N, "default"),
        labels=labels,
        predicted=np.full(N, "cat"),
        confidences=np.full(N, 0.7),
    )
    poor = Baseline("trained", "", answers(np.zeros(N, dtype=bool), labels=labels.tolist()))
    decisions = negative_transfer(rule(), always_cat, Baselines(poor, poor, "cat", 0.75))
    assert outcomes(decisions) == ["pass", "refuse", "pass"]
    assert decisions[1].detail["majority"] == "cat"
    assert decisions[1].detail["majority_frac_of_training"] == 0.75


def test_a_fine_tuning_that_loses_against_its_probe_is_refused(decide) -> None:
    decisions = decide(350, 300, 380)
    assert outcomes(decisions) == ["pass", "pass", "refuse"]
    assert decisions[2].condition == "not worse than a probe on the same backbone by 3 points"


def test_the_probe_itself_is_a_tie(decide) -> None:
    decision = decide(380, 300, None)[2]
    assert decision.outcome == "pass"
    assert decision.statistic == 0
    assert decision.detail["test"] == "same_model"
    assert "the candidate is that probe" in decision.reason


def test_a_tie_with_the_probe_refuses_without_a_margin(decide) -> None:
    assert outcomes(decide(380, 300, None, margin=0.0)) == ["pass", "pass", "refuse"]


def test_a_candidate_trained_from_scratch_has_transferred_nothing(decide) -> None:
    decisions = decide(380, None, 370)
    assert outcomes(decisions) == ["refuse", "pass", "pass"]
    assert "nothing was transferred" in decisions[0].reason


@pytest.mark.parametrize("place", [0, 2])
def test_a_baseline_that_could_not_be_trained_shows_nothing(decide, place: int) -> None:
    decisions = decide(380, *(("a class has 1 sample.", 370) if place == 0 else (300, "a class has 1 sample.")))
    assert decisions[place].outcome == "insufficient_data"
    assert "could not be trained: a class has 1 sample." in decisions[place].reason


def test_few_samples_lack_data(decide) -> None:
    assert outcomes(decide(380, 300, 380, min_n=401)) == ["insufficient_data"] * 3


@pytest.mark.parametrize("discordance", [0.05, 0.2])
def test_a_candidate_no_better_than_scratch_passes_within_the_stated_rate(answers, outcome, discordance: float) -> None:
    """The worst case of the three conditions: the other two are sure to hold."""
    n_draws, n, n_passed = 400, 300, 0
    poor = Baseline("trained", "", answers(np.zeros(n, dtype=bool)))
    for wins, losses in draws(np.random.default_rng(1), n, discordance, 0.0, n_draws).tolist():
        candidate, scratch = outcome(wins, losses, n)
        baselines = Baselines(Baseline("trained", "", answers(scratch)), poor, "dog", 0.5)
        n_passed += all(decision.outcome == "pass" for decision in negative_transfer(rule(), answers(candidate), baselines))
    assert 0 < n_passed <= most_by_chance(n_draws, 0.05)
