"""The comparison by macro-F1 and AUROC: its outcomes, what falls back on accuracy, and the faults that it must see."""

import numpy as np
import pytest

from pipelines.answers import TestAnswers
from pipelines.config import BeatsChampionGate
from pipelines.core.errors import DataError
from pipelines.gates.beats_champion import Champion, beats_champion
from pipelines.gates.decision import Decision

LABELS = ("cat", "dog", "owl")


def rule(metric: str, **changes: object) -> BeatsChampionGate:
    return BeatsChampionGate.model_validate({"kind": "beats_champion", "without_champion": "refuse", "metric": metric, **changes})


def model(true: np.ndarray, given: np.ndarray, domains: np.ndarray | str = "default", names: tuple[str, ...] = LABELS) -> TestAnswers:
    """Answers with the label `given`, as probable as can be, and the true one next."""
    probabilities = np.full((len(true), len(names)), 0.01)
    for row, (answer, label) in enumerate(zip(given, true, strict=True)):
        if label in names:
            probabilities[row, names.index(label)] = 0.3
        probabilities[row, names.index(answer)] = 0.9
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return TestAnswers(
        ids=np.array([f"id{row:05}" for row in range(len(true))]),
        domains=np.full(len(true), domains) if isinstance(domains, str) else domains,
        labels=true,
        predicted=given,
        confidences=probabilities.max(axis=1),
        probabilities=probabilities,
        label_names=names,
    )


def spoilt(true: np.ndarray, n_wrong: dict[str, int]) -> np.ndarray:
    """The true labels, of which the first few of each given label are answered by the next label."""
    given = true.copy()
    for label, n in n_wrong.items():
        given[np.flatnonzero(true == label)[:n]] = LABELS[(LABELS.index(label) + 1) % 3]
    return given


TRUE = np.repeat(LABELS, [300, 200, 100])
GOOD = spoilt(TRUE, {"cat": 20, "dog": 10, "owl": 5})


def decide(metric: str, candidate: TestAnswers, champion: TestAnswers, *drifted: str, **changes: object) -> list[Decision]:
    known = Champion(champion, champion.label_names)
    decisions = list(beats_champion(rule(metric, **changes), candidate, known, drifted_domains=drifted))
    assert len({decision.condition for decision in decisions}) == len(decisions)
    return decisions


@pytest.mark.parametrize(("metric", "name"), [("macro_f1", "macro-F1"), ("auroc", "AUROC")])
def test_a_tie_and_a_better_candidate_pass(metric: str, name: str) -> None:
    champion = model(TRUE, GOOD)
    for candidate in (champion, model(TRUE, TRUE)):
        (decision,) = decide(metric, candidate, champion)
        assert decision.outcome == "pass", decision
        assert decision.low >= -0.03
        assert decision.condition == f"{name} not worse than the champion's by 3 points on all test samples"
    assert f"on 600 samples the {name} is 100 %, the champion's 9" in decision.reason


@pytest.mark.parametrize("metric", ["macro_f1", "auroc"])
def test_a_worse_candidate_is_refused(metric: str) -> None:
    (decision,) = decide(metric, model(TRUE, spoilt(TRUE, {"cat": 120, "dog": 80, "owl": 50})), model(TRUE, GOOD))
    assert (decision.outcome, decision.detail["metric"]) == ("refuse", metric)
    assert "the candidate lost more than that" in decision.reason
    assert decision.high < -0.03


def test_a_loss_on_a_rare_label_that_accuracy_does_not_see() -> None:
    """Half of the rarest label is lost, and as many samples of the commonest are won."""
    true = np.repeat(LABELS, [900, 900, 60])
    champion, candidate = model(true, spoilt(true, {"cat": 40})), model(true, spoilt(true, {"cat": 10, "owl": 30}))
    assert decide("accuracy", candidate, champion)[0].outcome == "pass"
    assert decide("macro_f1", candidate, champion)[0].outcome == "refuse"


@pytest.mark.parametrize("metric", ["macro_f1", "auroc"])
def test_few_samples_are_no_data(metric: str) -> None:
    true = np.repeat(LABELS, 33)
    (decision,) = decide(metric, model(true, true), model(true, true))
    assert (decision.outcome, decision.n) == ("insufficient_data", 99)
    assert "needs 100 samples: label more of them" in decision.reason


@pytest.mark.parametrize(("metric", "others"), [("macro_f1", ""), ("auroc", ", and as many without it")])
def test_a_label_with_few_samples_or_none_is_no_data(metric: str, others: str) -> None:
    for n_owls in (0, 4):
        true = np.repeat(LABELS, [300, 300, n_owls])
        (decision,) = decide(metric, model(true, true), model(true, true))
        assert decision.outcome == "insufficient_data"
        assert f"needs 5 samples of each label{others}, and has fewer of owl: label more" in decision.reason


@pytest.mark.parametrize("metric", ["macro_f1", "auroc"])
def test_a_label_too_rare_to_show_its_loss_is_no_data(metric: str) -> None:
    true = np.repeat(LABELS, [300, 300, 6])
    (decision,) = decide(metric, model(true, true), model(true, true))
    assert decision.outcome == "insufficient_data"
    assert "not even equal answers show it: label more, of the rarest labels above all" in decision.reason


def test_a_margin_of_nothing_asks_for_a_gain() -> None:
    champion = model(TRUE, GOOD)
    assert decide("macro_f1", champion, champion, margin=0.0)[0].outcome == "refuse"
    assert decide("macro_f1", model(TRUE, TRUE), champion, margin=0.0)[0].outcome == "pass"


@pytest.mark.parametrize("metric", ["macro_f1", "auroc"])
def test_labels_added_since_do_not_hide_a_loss(metric: str) -> None:
    """The champion never heard of owls: they are left out, and a loss on the others refuses."""
    champion = model(TRUE, np.where(GOOD == "owl", "cat", GOOD), names=("cat", "dog"))
    good, bad = model(TRUE, GOOD), model(TRUE, spoilt(TRUE, {"cat": 100, "dog": 80}))
    for candidate, expected in ((good, "pass"), (bad, "refuse")):
        (decision,) = decide(metric, candidate, champion)
        assert (decision.outcome, decision.n, decision.detail["n_labels"]) == (expected, 500, 2)


@pytest.mark.parametrize("metric", ["macro_f1", "auroc"])
def test_a_label_that_was_removed_but_is_still_asked_for_counts_as_lost(metric: str) -> None:
    candidate = model(TRUE, np.where(GOOD == "owl", "cat", GOOD), names=("cat", "dog"))
    (decision,) = decide(metric, candidate, model(TRUE, GOOD))
    assert (decision.outcome, decision.detail["n_labels"]) == ("refuse", 3)


@pytest.mark.parametrize("metric", ["macro_f1", "auroc"])
def test_a_renamed_label_leaves_the_samples_that_both_know(metric: str) -> None:
    true = np.repeat(["cat", "dog", "hound"], [300, 200, 0])
    renamed = np.where(true == "dog", "hound", true)
    candidate = model(renamed, renamed, names=("cat", "hound"))
    champion = model(renamed, np.where(renamed == "hound", "dog", renamed), names=("cat", "dog"))
    (decision,) = decide(metric, candidate, champion)
    assert "(200 have none)" in decision.condition
    # Of one label alone macro-F1 is its F1; AUROC needs samples without it.
    assert decision.outcome == ("pass" if metric == "macro_f1" else "insufficient_data")


@pytest.mark.parametrize("metric", ["macro_f1", "auroc"])
def test_a_loss_on_one_domain_is_not_hidden(metric: str) -> None:
    true, domains = np.concatenate([TRUE, TRUE]), np.repeat(["photo", "scan"], 600)
    champion = model(true, np.concatenate([spoilt(TRUE, {"cat": 150, "dog": 90, "owl": 40}), GOOD]), domains)
    candidate = model(true, np.concatenate([TRUE, spoilt(TRUE, {"cat": 60, "dog": 40, "owl": 30})]), domains)
    found = {decision.condition.split(" on ")[1]: decision for decision in decide(metric, candidate, champion)}
    assert {name: decision.outcome for name, decision in found.items()} == {
        "all test samples": "pass", "the domain photo": "pass", "the domain scan": "refuse",
    }  # fmt: skip
    assert found["the domain scan"].detail["metric"] == metric


@pytest.mark.parametrize("metric", ["macro_f1", "auroc"])
def test_a_domain_that_does_not_bear_the_metric_is_compared_by_accuracy(metric: str) -> None:
    """Owls are photographed only: the scans have four of them, the faxes cats alone."""
    true = np.concatenate([TRUE, np.repeat(LABELS, [150, 146, 4])])
    champion = model(true, true, np.repeat(["photo", "scan"], [600, 300]))
    found = {decision.condition.split(" on ")[1]: decision for decision in decide(metric, champion, champion, "scan")}
    fallen = found["the domain scan, by accuracy"]
    assert (fallen.outcome, fallen.detail["metric"], fallen.detail["instead_of"]) == ("pass", "accuracy", metric)
    assert "Accuracy is compared here: " in fallen.reason
    assert "has fewer of owl." in fallen.reason
    assert found["the drifted domain scan, by accuracy"].outcome == "refuse"  # a tie is not better


def test_auroc_of_one_label_is_not_defined() -> None:
    true = np.concatenate([TRUE, np.full(200, "cat")])
    champion = model(true, true, np.repeat(["photo", "scan"], [600, 200]))
    found = {decision.condition.split(" on ")[1]: decision for decision in decide("auroc", champion, champion)}
    assert found["the domain scan, by accuracy"].outcome == "pass"


@pytest.mark.parametrize("metric", ["macro_f1", "auroc"])
def test_drift_asks_for_a_gain_by_the_same_metric(metric: str) -> None:
    true, domains = np.concatenate([TRUE, TRUE]), np.repeat(["photo", "scan"], 600)
    champion = model(true, np.concatenate([GOOD, spoilt(TRUE, {"cat": 90, "dog": 60, "owl": 30})]), domains)
    better = model(true, np.concatenate([GOOD, GOOD]), domains)
    for candidate, expected in ((better, "pass"), (champion, "refuse")):
        drifted = decide(metric, candidate, champion, "scan")[-1]
        assert (drifted.outcome, drifted.detail["metric"]) == (expected, metric)
        assert drifted.condition.endswith("better than the champion's on the drifted domain scan")


def test_a_small_or_empty_drifted_domain_is_no_data() -> None:
    champion = model(TRUE, GOOD)
    decisions = decide("macro_f1", champion, champion, "fax")
    assert (decisions[-1].outcome, decisions[-1].n) == ("insufficient_data", 0)


def test_auroc_without_probabilities_is_refused() -> None:
    bare = TestAnswers(np.array(["a", "b"]), np.full(2, "d"), np.array(["cat", "dog"]), np.array(["cat", "dog"]), np.ones(2))
    with pytest.raises(DataError, match="an evaluation without the probabilities of all labels"):
        decide("auroc", bare, bare)


@pytest.mark.parametrize("metric", ["macro_f1", "auroc"])
def test_sets_of_labels(metric: str) -> None:
    """Each label for itself: a candidate that forgets one of them is refused, although most sets hold others, too."""
    rng = np.random.default_rng(0)
    has = rng.random((900, 3)) < 0.4
    text = np.array(["|".join(np.array(LABELS)[row]) for row in has])

    def answers(given: np.ndarray) -> TestAnswers:
        ids, domains = np.array([f"id{row}" for row in range(900)]), np.full(900, "d")
        predicted = np.array(["|".join(np.array(LABELS)[row]) for row in given])
        scores = np.where(given, 0.8, 0.1) + 0.1 * rng.random(given.shape)
        return TestAnswers(ids, domains, text, predicted, np.ones(900), "many", probabilities=scores, label_names=LABELS, exclusive=False)

    noisy = has ^ (rng.random(has.shape) < 0.02)
    forgetful = noisy & (np.array([True, True, False]) | (rng.random((900, 1)) < 0.5))
    for given, expected in ((noisy, "pass"), (forgetful, "refuse")):
        gate = rule(metric)
        (decision,) = beats_champion(gate, answers(given), Champion(answers(noisy), LABELS, "many"))
        assert decision.outcome == expected, decision
