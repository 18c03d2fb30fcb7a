"""The floor: its decision against SciPy's test, its error rate, its reasons."""

import math

import numpy as np
import pytest
from scipy.stats import binom, binomtest
from sklearn.metrics import f1_score

from pipelines.answers import TestAnswers
from pipelines.config import MinMetricGate
from pipelines.core.errors import ConfigurationError, DataError
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


# Metrics over labels, and recall.


def of_labels(true: list[str], predicted: list[str], **changes: object) -> TestAnswers:
    n = len(true)
    content: dict[str, object] = {
        "ids": np.array([f"id{row:05}" for row in range(n)]),
        "domains": np.full(n, "default"),
        "labels": np.array(true),
        "predicted": np.array(predicted),
        "confidences": np.full(n, 0.9),
        "label_names": ("cat", "dog"),
    }
    return TestAnswers(**(content | changes))  # type: ignore[arg-type]


def halves(n_each: int, n_wrong_dogs: int = 0) -> TestAnswers:
    """Cats, all found, and dogs, of which some are taken for cats; the probabilities say the same."""
    true = ["cat"] * n_each + ["dog"] * n_each
    predicted = ["cat"] * (n_each + n_wrong_dogs) + ["dog"] * (n_each - n_wrong_dogs)
    dog = 0.1 + 0.3 * (np.arange(2 * n_each) * 7 % (2 * n_each)) / (2 * n_each) + 0.5 * (np.array(predicted) == "dog")
    return of_labels(true, predicted, probabilities=np.column_stack([1 - dog, dog]))


def test_recall_is_the_exact_bound_on_that_labels_samples() -> None:
    decision = min_metric(rule(metric="recall", label="dog", floor=0.8), halves(100, 8))
    test = binomtest(92, 100, 0.8, alternative="greater")
    assert (decision.statistic, decision.n, decision.outcome) == (0.92, 100, "pass")
    assert decision.low == pytest.approx(test.proportion_ci(0.95).low)
    assert decision.p_value == pytest.approx(test.pvalue)
    assert decision.condition == "recall of at least 80 % on all test samples that are 'dog'"
    assert min_metric(rule(metric="recall", label="cat", floor=0.8), halves(100, 8)).statistic == 1
    assert min_metric(rule(metric="recall", label="dog", floor=0.9), halves(100, 8)).outcome == "refuse"


def test_recall_in_sets() -> None:
    answers = of_labels(
        ["cat", "cat|dog", "", "dog"] * 20, ["cat|dog", "dog", "dog", "dog"] * 20, labels_per_sample="many", exclusive=False
    )
    assert min_metric(rule(metric="recall", label="dog"), answers).statistic == 1
    found = min_metric(rule(metric="recall", label="cat"), answers)
    assert (found.statistic, found.n, found.outcome) == (0.5, 40, "refuse")


def test_recall_of_a_label_without_samples_is_no_data() -> None:
    decision = min_metric(rule(metric="recall", label="dog"), of_labels(["cat"] * 50, ["cat"] * 50))
    assert (decision.outcome, decision.n, decision.statistic) == ("insufficient_data", 0, None)
    assert "there are no test samples of 'dog'" in decision.reason


def test_recall_of_an_unknown_label_is_wrong_use() -> None:
    with pytest.raises(ConfigurationError, match=r"the recall of 'owl'.*one of the labels: 'cat', 'dog'"):
        min_metric(rule(metric="recall", label="owl"), halves(50))


@pytest.mark.parametrize("metric", ["macro_f1", "auroc"])
def test_a_good_model_passes_and_a_bad_one_does_not(metric: str) -> None:
    good, bad = halves(200, 4), halves(200, 80)
    assert min_metric(rule(metric=metric), good).outcome == "pass"
    refused = min_metric(rule(metric=metric), bad)
    assert refused.outcome == "refuse"
    assert "which is below the floor of 90 %" in refused.reason
    for decision in (min_metric(rule(metric=metric), good), refused):
        assert decision.low is not None
        assert decision.p_value is not None
        assert (decision.low >= 0.9) == (decision.p_value <= 0.05) == (decision.outcome == "pass")
        assert decision.low < (decision.statistic or 0)


def test_macro_f1_is_that_of_scikit_learn() -> None:
    answers = halves(200, 30)
    assert min_metric(rule(metric="macro_f1"), answers).statistic == pytest.approx(
        f1_score(answers.labels, answers.predicted, average="macro")
    )


def test_a_model_that_never_answers_a_rare_label_is_refused() -> None:
    """What accuracy hides."""
    true = ["cat"] * 950 + ["dog"] * 50
    answers = of_labels(true, ["cat"] * 1000)
    assert min_metric(rule(floor=0.9), answers).outcome == "pass"
    assert min_metric(rule(metric="macro_f1", floor=0.9), answers).outcome == "refuse"


@pytest.mark.parametrize("metric", ["macro_f1", "auroc"])
def test_too_few_samples_of_a_label_are_no_data(metric: str) -> None:
    answers = of_labels(["cat"] * 96 + ["dog"] * 4, ["cat"] * 96 + ["dog"] * 4, probabilities=np.full((100, 2), 0.5))
    decision = min_metric(rule(metric=metric), answers)
    assert decision.outcome == "insufficient_data"
    assert "have fewer than 5 samples" in decision.reason
    assert "dog (4)" in decision.reason
    assert "fewer than the 30" in min_metric(rule(metric=metric), halves(10)).reason


@pytest.mark.parametrize("metric", ["macro_f1", "auroc"])
def test_samples_that_could_not_show_the_floor_are_no_data(metric: str) -> None:
    decision = min_metric(rule(metric=metric, floor=0.98), halves(20))
    assert decision.outcome == "insufficient_data"
    assert "no result shows 98 %" in decision.reason
    assert min_metric(rule(metric=metric, floor=1.0), halves(20)).outcome == "refuse"


def test_auroc_needs_probabilities() -> None:
    with pytest.raises(DataError, match="without the probabilities"):
        min_metric(rule(metric="auroc"), of_labels(["cat", "dog"] * 50, ["cat", "dog"] * 50))
