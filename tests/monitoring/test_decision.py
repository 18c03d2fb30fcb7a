from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.digits_traffic import BUNDLE, LABELS, DigitsTraffic, as_lines, inverted, shifted_right
from monitoring.alarm_budget import Allowance
from monitoring.decision import judge_window, window_id
from monitoring.reference import Reference
from monitoring.window import Window
from pipelines.config import MonitorSection
from pipelines.core.errors import Finding, IntegrityError

CONFIG = MonitorSection()
ALLOWED = Allowance(level=0.01, balance=0.0)


def test_unchanged_traffic_is_ok(digits: DigitsTraffic) -> None:
    verdict = judge_window(*digits.draw(0, 200), CONFIG, ALLOWED)
    assert verdict.verdict == "ok"
    assert verdict.reason.startswith("No change was detected: the nearest of 11 signals is")
    assert "200 requests against 500 reference samples." in verdict.reason


def test_inverted_images_are_drift_and_the_reason_says_what_moved(digits: DigitsTraffic) -> None:
    window, reference = digits.draw(0, 200, change=inverted)
    verdict = judge_window(replace(window, domains=("scanner 2",) * 200), reference, CONFIG, ALLOWED)
    assert verdict.verdict == "drift"
    before, now = np.median(reference.statistics[:, 0]), np.median(window.statistics[:, 0])
    assert f"brightness went from {before:.3g} to {now:.3g} (median)" in verdict.reason
    assert "the embeddings moved to" in verdict.reason
    assert "New domains: scanner 2 (200 requests)." in verdict.reason
    assert {signal.name for signal in verdict.drifted} >= {"embedding", "brightness", "dark_frac", "predicted_class"}
    assert verdict.quality is not None
    assert verdict.quality.degraded  # the evidence carries both


def test_more_errors_on_unchanged_inputs_are_degraded(digits: DigitsTraffic) -> None:
    verdict = judge_window(*digits.draw(0, 200, label_noise_frac=0.25), CONFIG, ALLOWED)
    assert verdict.verdict == "degraded"
    assert verdict.drifted == ()
    assert verdict.reason.startswith("The error rate went up (")
    assert "of 200 labelled answers are wrong; up to" in verdict.reason
    assert "of 200 labelled answers are right" in verdict.reason


def test_without_labels_the_reason_gives_the_expected_accuracy(digits: DigitsTraffic) -> None:
    window, reference = digits.draw(0, 200, change=shifted_right)
    verdict = judge_window(replace(window, true_labels=(None,) * 200), reference, CONFIG, ALLOWED)
    assert verdict.verdict == "drift"
    assert "No labels were fed back; by the model's confidence about" in verdict.reason


def test_a_small_window_is_insufficient_and_says_how_many_are_missing(digits: DigitsTraffic) -> None:
    verdict = judge_window(*digits.draw(0, 60, change=inverted), CONFIG, ALLOWED)
    assert verdict.verdict == "insufficient_data"
    assert verdict.reason == f"60 requests of bundle {BUNDLE}; 100 are needed: 40 more."
    assert (verdict.signals, verdict.quality, verdict.where, verdict.n_needed) == ((), None, None, 100)


def test_a_tiny_reference_is_insufficient(digits: DigitsTraffic) -> None:
    verdict = judge_window(*digits.draw(0, 100, n_reference=19), CONFIG, ALLOWED)
    assert verdict.verdict == "insufficient_data"
    assert verdict.reason == "The reference holds 19 samples, too few for tests of any use. Retrain with a larger test split."


def test_an_empty_window_is_insufficient(digits: DigitsTraffic) -> None:
    _, reference = digits.draw(0, 100)
    verdict = judge_window(Window.from_lines([], [], BUNDLE, LABELS, 100), reference, CONFIG, ALLOWED)
    assert (verdict.verdict, verdict.first_at, verdict.last_at) == ("insufficient_data", None, None)
    assert "0 requests" in verdict.reason


def test_malformed_lines_are_reported(digits: DigitsTraffic) -> None:
    window, reference = digits.draw(0, 120)
    verdict = judge_window(replace(window, n_malformed=2, problems=(Finding("r9", "no label"),)), reference, CONFIG, ALLOWED)
    assert verdict.reason.endswith("2 malformed lines were left out, the first: r9: no label.")
    assert (verdict.n_malformed, verdict.problems) == (2, ("r9: no label",))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bundle": "another"}, "bundle another instead of d1617500d1617500"),
        ({"labels": LABELS[::-1]}, "labels .* instead of"),
        ({"embeddings": np.zeros((120, 4))}, "embedding size 4 instead of 16"),
        ({"statistics": np.zeros((120, 2))}, "number of input statistics 2 instead of 6"),
    ],
)
def test_a_window_of_something_else_is_refused(digits: DigitsTraffic, change: dict[str, object], message: str) -> None:
    window, reference = digits.draw(0, 120)
    with pytest.raises(IntegrityError, match=message):
        judge_window(replace(window, **change), reference, CONFIG, ALLOWED)  # type: ignore[arg-type]


def test_same_lines_in_any_order_give_the_same_bytes(digits: DigitsTraffic) -> None:
    window, reference = digits.draw(5, 150)
    requests, feedback = as_lines(window)
    first = judge_window(Window.from_lines(requests, feedback, BUNDLE, LABELS, 1_000), reference, CONFIG, ALLOWED).to_json()
    random.Random(0).shuffle(requests)
    random.Random(1).shuffle(feedback)
    assert judge_window(Window.from_lines(requests, feedback, BUNDLE, LABELS, 1_000), reference, CONFIG, ALLOWED).to_json() == first


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 2**31), st.integers(110, 140))
def test_properties_of_any_window(digits: DigitsTraffic, seed: int, n_window: int) -> None:
    config = MonitorSection(min_window=20, seed=seed)
    window, reference = digits.draw(seed, n_window, n_reference=200)
    verdict = judge_window(window, reference, config, ALLOWED)
    assert all(0 < signal.p_value <= 1 for signal in verdict.signals)
    order = np.random.default_rng(seed).permutation(n_window)
    shuffled = replace(
        window,
        embeddings=window.embeddings[order],
        probabilities=window.probabilities[order],
        statistics=window.statistics[order],
        predicted_indices=window.predicted_indices[order],
    )
    assert judge_window(shuffled, reference, config, ALLOWED).signals == verdict.signals
    assert verdict.signals
    assert judge_window(as_its_own_window(window, reference), reference, config, ALLOWED).verdict == "ok"


def as_its_own_window(window: Window, reference: Reference) -> Window:
    return replace(
        window,
        request_ids=tuple(str(number) for number in range(reference.n_samples)),
        times=(window.times[0],) * reference.n_samples,
        embeddings=reference.embeddings,
        probabilities=reference.probabilities,
        statistics=reference.statistics,
        predicted_indices=reference.predicted_indices,
        domains=("",) * reference.n_samples,
        true_labels=(None,) * reference.n_samples,
    )


def test_window_id_changes_with_requests_and_feedback_only(digits: DigitsTraffic) -> None:
    window, _ = digits.draw(0, 50)
    unlabelled = replace(window, true_labels=(None, *window.true_labels[1:]))
    renamed = replace(window, request_ids=("other", *window.request_ids[1:]))
    reordered = replace(window, request_ids=window.request_ids[::-1], true_labels=window.true_labels[::-1])
    assert len({window_id(window), window_id(unlabelled), window_id(renamed)}) == 3
    assert window_id(reordered) == window_id(window)
