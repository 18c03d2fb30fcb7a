"""The monitor where answers are sets of labels: the whole chain from log lines to the verdict."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from monitoring.alarm_budget import Allowance
from monitoring.decision import judge_window
from monitoring.quality import quality
from monitoring.report import evidently_snapshot
from monitoring.window import Window
from pipelines.config import MonitorSection
from tests.monitoring.label_traffic import BUNDLE, LABELS, THRESHOLDS, draw_chances, draw_reference, draw_window, lines

COUNTED = 0.06
CONFIG = MonitorSection(min_window=20)


def read(requests: list[dict[str, Any]], feedback: list[dict[str, Any]] = ()) -> Window:
    return Window.from_lines(requests, feedback, BUNDLE, LABELS, 1_000, THRESHOLDS)


def test_lines_become_sets() -> None:
    rng = np.random.default_rng(0)
    chances = draw_chances(rng, 50)
    requests, feedback = lines(rng, chances)
    window = read(requests, feedback)
    assert (window.n_requests, window.n_malformed) == (50, 0)
    np.testing.assert_array_equal(window.predicted, chances >= np.array(THRESHOLDS))
    assert window.answers == tuple(line["label"] for line in requests)
    assert "" in window.answers
    assert window.true_labels == tuple(line["label"] for line in feedback)
    for place in range(50):
        slow = np.prod([p if p >= t else 1 - p for p, t in zip(window.probabilities[place], THRESHOLDS, strict=True)])
        assert window.confidences[place] == pytest.approx(slow)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"label": "dog|cat"}, "label 'dog|cat' is no set of the bundle's"),
        ({"label": "yak"}, "label 'yak' is no set of the bundle's"),
        ({"probabilities": [0.5, 0.5]}, "2 probabilities that sum to 1"),
        ({"probabilities": [0.5, 0.5, 1.5]}, "probabilities.2: Input should be less than or equal to 1.01"),
    ],
)
def test_a_line_that_is_no_answer_of_this_bundle_is_left_out(change: dict[str, Any], problem: str) -> None:
    rng = np.random.default_rng(0)
    requests, _ = lines(rng, draw_chances(rng, 5))
    requests[2].update(change)
    window = read(requests)
    assert (window.n_requests, window.n_malformed) == (4, 1)
    assert window.problems[0].problem == problem


def test_feedback_in_another_order_is_the_same_set_and_unknown_labels_are_wrong() -> None:
    rng = np.random.default_rng(0)
    requests, _ = lines(rng, np.array([[0.9, 0.9, 0.1], [0.9, 0.9, 0.1], [0.1, 0.1, 0.1]]))
    late = "2026-02-01T00:00:00Z"
    labels = {"r00000": "dog|cat", "r00001": "yak|cat", "r00002": ""}
    window = read(requests, [{"request_id": name, "label": label, "time": late} for name, label in labels.items()])
    assert window.true_labels == ("cat|dog", "yak|cat", "")
    judged = quality(window, draw_reference(0), 1.0, 0)
    assert (judged.n_labelled, judged.n_errors) == (3, 1)


def test_the_accuracy_expected_from_confidence_is_that_of_whole_sets() -> None:
    judged = quality(draw_window(0, 800), draw_reference(0, 800), 1.0, 0)
    assert judged.labelled is not None
    assert judged.labelled.low <= judged.expected.value <= judged.labelled.high


def test_false_alarms_are_not_far_above_their_rate() -> None:
    n_alarms = sum(
        judge_window(draw_window(seed, 120), draw_reference(seed, 200), CONFIG, Allowance(COUNTED, 0.0)).verdict != "ok"
        for seed in range(40)
    )
    assert stats.binomtest(n_alarms, 20, COUNTED, alternative="greater").pvalue > 1e-3


def test_a_label_that_is_answered_more_often_is_drift_and_named() -> None:
    reference, window = draw_reference(3), draw_window(3, 300)
    more = replace(window, predicted_sets=window.predicted | (np.random.default_rng(0).random((300, 3)) < np.array([0, 0, 0.2])))
    verdict = judge_window(more, reference, CONFIG, Allowance(0.01, 0.0))
    assert [signal.name for signal in verdict.drifted] == ["predicted_class"]
    assert verdict.where is not None
    assert verdict.where.classes[0].label == "owl"
    assert "answers 'owl' went from" in verdict.reason
    assert [move.window_frac for move in sorted(verdict.where.classes, key=lambda move: move.label)] == list(more.predicted.mean(axis=0))


@pytest.mark.slow
def test_the_charts_show_sets_and_group_what_is_rare(tmp_path: Path) -> None:
    reference, window = draw_reference(0), draw_window(0, 150)
    content = evidently_snapshot(window, reference, judge_window(window, reference, CONFIG, Allowance(0.01, 0.0))).dict()
    assert "predicted_class" in {metric["config"]["column"] for metric in content["metrics"]}


def test_a_chart_has_a_limited_number_of_sets() -> None:
    from monitoring.report import _shown_answers

    answers = [""] * 30 + [f"set {number}" for number in range(100)] + ["cat"] * 5
    shown = _shown_answers(answers)
    assert len(set(shown)) == 21
    assert shown[0] == "(none)"
    assert shown[-1] == "cat"
    assert shown[50] == "(other sets)"


@pytest.mark.slow
def test_false_alarm_rate_of_sets_over_many_windows() -> None:
    verdicts = [
        judge_window(draw_window(seed, 120), draw_reference(seed, 200), CONFIG, Allowance(COUNTED, 0.0)).verdict for seed in range(400)
    ]
    assert stats.binomtest(verdicts.count("drift"), 400, COUNTED, alternative="greater").pvalue > 1e-3
    assert verdicts.count("degraded") <= 8  # a quarter of a week's worth of one false alarm a year: 0.005 of each
    assert verdicts.count("drift") > 4
