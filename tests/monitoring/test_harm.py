from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from scipy import stats

from benchmarks.digits_traffic import DigitsTraffic, as_reference, as_window, inverted
from monitoring.alarm_budget import Allowance
from monitoring.decision import judge_window
from monitoring.harm import judge_harm, read_loss
from monitoring.quality import AccuracyLoss, LabelledStretch, Quality, labelled_since, quality
from monitoring.signals.result import SignalResult
from monitoring.window import LabelledAnswer
from pipelines.config import MonitorSection


def loss(value: float, low: float, high: float) -> AccuracyLoss:
    return AccuracyLoss(value=value, low=low, high=high)


COSTS, NOTHING, OPEN = loss(0.2, 0.1, 0.3), loss(0.0, -0.02, 0.03), loss(0.04, -0.05, 0.2)


def far(drifted: bool) -> SignalResult:
    return SignalResult(
        name="out_of_distribution",
        family="embedding",
        statistic=0.4,
        p_value=0.5,
        threshold=0.01,
        n_reference=10,
        n_window=10,
        drifted=drifted,
        detail="",
    )


@pytest.fixture(scope="module")
def judged(digits: DigitsTraffic) -> Quality:
    window, reference = digits.draw(0, 100)
    return quality(replace(window, true_labels=(None,) * 100), reference, 1.0, 0)


@pytest.mark.parametrize(
    ("found", "name"), [(COSTS, "costs"), (NOTHING, "costs_nothing"), (OPEN, "unknown"), (loss(0.02, 0.01, 0.06), "unknown")]
)
def test_what_an_interval_says(found: AccuracyLoss, name: str) -> None:
    assert read_loss(found, 0.05) == name


@pytest.mark.parametrize(
    ("labelled", "expected", "thresholded", "is_far", "name", "basis"),
    [
        (None, NOTHING, NOTHING, False, "costs_nothing", "estimates"),
        (None, NOTHING, NOTHING, True, "unknown", "estimates"),  # confidence means little there
        (None, COSTS, COSTS, True, "costs", "estimates"),
        (None, COSTS, NOTHING, False, "unknown", "estimates"),
        (None, NOTHING, OPEN, False, "unknown", "estimates"),
        (NOTHING, COSTS, COSTS, True, "costs_nothing", "labels"),
        (COSTS, NOTHING, NOTHING, False, "costs", "labels"),
        (OPEN, NOTHING, NOTHING, False, "costs_nothing", "estimates"),
    ],
)
def test_labels_decide_and_estimates_must_agree(
    judged: Quality,
    labelled: AccuracyLoss | None,
    expected: AccuracyLoss,
    thresholded: AccuracyLoss,
    is_far: bool,
    name: str,
    basis: str,
) -> None:
    found = judged.model_copy(update={"expected_loss": expected, "thresholded_loss": thresholded})
    harm = judge_harm(found, [far(is_far)], 0.05, LabelledStretch(n_labelled=100, loss=labelled) if labelled else None)
    assert (harm.harm, harm.basis) == (name, basis)
    assert harm.reason.startswith({"costs": "It costs accuracy: ", "costs_nothing": "It costs next to", "unknown": "What it costs"}[name])


def test_late_labels_of_an_ongoing_drift_say_what_it_costs(digits: DigitsTraffic) -> None:
    """The window has none of its own: labels come a day late."""
    window, reference = digits.draw(0, 200, change=inverted)
    unlabelled = replace(window, true_labels=(None,) * 200)
    start = unlabelled.times[0] - timedelta(days=3)
    right = tuple(LabelledAnswer(start + timedelta(minutes=n), unlabelled.times[0], is_right=n % 50 > 0) for n in range(400))
    judged = [
        judge_window(replace(unlabelled, history=history), reference, MonitorSection(), Allowance(0.01, 0.0), start)
        for history in (right, ())
    ]
    assert [(verdict.verdict, verdict.drift_since) for verdict in judged] == [("drift", start)] * 2
    assert [(verdict.harm.harm, verdict.harm.basis) for verdict in judged if verdict.harm] == [
        ("costs_nothing", "labels"),
        ("costs", "estimates"),
    ]


def test_a_risen_error_rate_costs_whatever_confidence_says(digits: DigitsTraffic) -> None:
    window, reference = digits.draw(0, 100, label_noise_frac=0.5)
    found = quality(window, reference, 1.0, 0).model_copy(update={"expected_loss": NOTHING, "thresholded_loss": NOTHING})
    assert judge_harm(found, [far(False)], 0.05, None).harm == "costs"


def test_inverted_images_cost(digits: DigitsTraffic) -> None:
    verdict = judge_window(*digits.draw(0, 200, change=inverted), MonitorSection(), Allowance(0.01, 0.0))
    assert verdict.harm is not None
    assert (verdict.harm.harm, verdict.harm.basis) == ("costs", "labels")
    assert "It costs accuracy: the error rate on labelled requests has risen." in verdict.reason


def test_easy_requests_are_drift_that_costs_nothing(digits: DigitsTraffic) -> None:
    """Only the classes change, to those that are told apart best."""
    _, reference = digits.draw(0, 200)
    answers = digits.answer(digits._pixels, digits._labels)
    sure = answers.rows(answers.probabilities.max(axis=1).argsort()[-400:])
    window = replace(as_window(sure), true_labels=(None,) * 400)
    verdict = judge_window(window, reference, MonitorSection(), Allowance(0.01, 0.0))
    assert verdict.verdict == "drift"
    assert verdict.harm is not None
    assert verdict.harm.harm == "costs_nothing"
    assert as_reference(sure).correct.mean() > reference.correct.mean()


def test_with_labels_a_heavy_loss_is_rarely_called_nothing(digits: DigitsTraffic) -> None:
    names = []
    for seed in range(60):
        window, reference = digits.draw(seed, 150, label_noise_frac=0.12)
        labelled = labelled_since(window, reference, window.times[0])
        names.append(judge_harm(quality(window, reference, 1.0, 0), [far(False)], 0.05, labelled).harm)
    assert stats.binomtest(names.count("costs_nothing"), 60, 0.05, alternative="greater").pvalue > 1e-3
    assert names.count("costs") > 20
