"""The floor: its decision against SciPy's test, its error rate, its reasons."""

import math

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from pipelines.config import MinMetricGate
from pipelines.gates.min_metric import min_metric, samples_without_error


def rule(**changes: object) -> MinMetricGate:
    return MinMetricGate.model_validate({"kind": "min_metric", "floor": 0.9, **changes})


@pytest.mark.parametrize(("n_correct", "n"), [(450, 450), (430, 450), (415, 450), (405, 450), (300, 450), (0, 450), (60, 60), (29, 30)])
def test_decision_matches_scipy(answers, n_correct: int, n: int) -> None:
    decision = min_metric(rule(), answers(np.arange(n) < n_correct))
    test = binomtest(n_correct, n, 0.9, alternative="greater")
    assert decision.low == pytest.approx(test.proportion_ci(0.95).low)
    assert decision.p_value == pytest.approx(test.pvalue)
    assert (decision.outcome == "pass") == (test.pvalue <= 0.05)
    assert (decision.statistic, decision.n, decision.threshold, decision.level) == (n_correct / n, n, 0.9, 0.95)


def test_the_reason_is_a_sentence_with_the_numbers(answers) -> None:
    assert min_metric(rule(), answers(np.arange(450) < 430)).reason == (
        "430 of 450 test samples are right, 95.56 %; at 95 % confidence the true accuracy is at least 93.61 %, and the floor is 90 %."
    )
    assert "which is below the floor of 90 %" in min_metric(rule(), answers(np.arange(450) < 410)).reason


def test_too_few_samples_are_no_data(answers) -> None:
    decision = min_metric(rule(min_n=30), answers([True] * 29))
    assert decision.outcome == "insufficient_data"
    assert "fewer than the 30 samples" in decision.reason


def test_samples_that_cannot_show_the_floor_are_no_data(answers) -> None:
    # Even 40 of 40 leave 92.8 % possible.
    decision = min_metric(rule(floor=0.95), answers([True] * 40))
    assert decision.outcome == "insufficient_data"
    assert "below 59 samples no result shows 95 %" in decision.reason
    assert min_metric(rule(floor=0.95), answers([True] * 30 + [False] * 10)).outcome == "refuse"


def test_samples_without_error_are_where_all_right_first_passes(answers) -> None:
    for floor in (0.5, 0.9, 0.95, 0.99):
        needed = samples_without_error(floor, 0.95)
        assert needed == math.ceil(math.log(0.05) / math.log(floor))
        assert min_metric(rule(floor=floor, min_n=1), answers([True] * needed)).outcome == "pass"
        assert min_metric(rule(floor=floor, min_n=1), answers([True] * (needed - 1))).outcome != "pass"


def test_floors_at_the_ends(answers) -> None:
    assert min_metric(rule(floor=0.0), answers([False] * 100)).outcome == "pass"
    assert min_metric(rule(floor=1.0), answers([True] * 100)).outcome == "refuse"


@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
@pytest.mark.parametrize("n", [30, 100, 450, 1000])
def test_wrong_passes_at_the_floor_never_exceed_the_stated_rate(answers, n: int, level: float) -> None:
    """The whole distribution at a true accuracy of exactly the floor, through the gate."""
    gate = rule(level=level, min_n=1)
    fewest = next((hits for hits in range(int(0.9 * n), n + 1) if min_metric(gate, answers(np.arange(n) < hits)).outcome == "pass"), n + 1)
    wrong_rate = binom.sf(fewest - 1, n, 0.9)
    assert wrong_rate <= 1 - level
    # Not by refusing everything: one more pass would exceed the rate.
    assert wrong_rate + binom.pmf(fewest - 1, n, 0.9) > 1 - level
