from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest

from benchmarks.digits_traffic import Change, DigitsTraffic, Pixels, as_window, inverted, noisy, shifted_right
from monitoring.alarm_budget import Allowance
from monitoring.data_quality import FALSE_ALARM_LEVEL, DataQuality, QualityLimits, judge_data_quality
from monitoring.decision import judge_window
from monitoring.window import Window
from pipelines.config import MonitorSection


def dark(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """A covered sensor: nothing but a little noise."""
    return np.abs(rng.normal(0, 0.15, pixels.shape))


def dazzled(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    return 16 - np.abs(rng.normal(0, 0.15, pixels.shape))


def frozen(pixels: Pixels, _rng: np.random.Generator) -> Pixels:
    return np.repeat(pixels[:1], len(pixels), axis=0)


def frozen_with_noise(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    return frozen(pixels, rng) + rng.normal(0, 0.1, pixels.shape)


def defocused(pixels: Pixels, _rng: np.random.Generator) -> Pixels:
    """Each picture is one soft slope of its own brightness: contrast is left, detail is not."""
    slope = np.linspace(0.8, 1.2, 8)
    return np.clip(pixels.mean(axis=1)[:, None, None] * slope[None, :, None] * np.ones((1, 1, 8)), 0, 16).reshape(-1, 64)


def half_contrast(pixels: Pixels, _rng: np.random.Generator) -> Pixels:
    return 4 + pixels / 2


def darker(pixels: Pixels, _rng: np.random.Generator) -> Pixels:
    return pixels / 2


def some(change: Change, frac: float) -> Change:
    def changed(pixels: Pixels, rng: np.random.Generator) -> Pixels:
        broken = rng.random(len(pixels)) < frac
        return np.where(broken[:, None], change(pixels, rng), pixels)

    return changed


def judged(digits: DigitsTraffic, seed: int, n_window: int = 200, change: Change | None = None) -> DataQuality:
    window, reference = digits.draw(seed, n_window, change=change)
    return judge_data_quality(window, QualityLimits.of(reference))


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (dark, {"flat", "repeated"}),
        (dazzled, {"flat", "repeated"}),
        (frozen, {"repeated"}),
        (frozen_with_noise, {"repeated"}),
        (defocused, {"blurred"}),
    ],
)
@pytest.mark.parametrize("n_window", [60, 200])
def test_a_broken_camera_is_seen_in_every_window(digits: DigitsTraffic, change: Change, names: set[str], n_window: int) -> None:
    for seed in range(20):
        found = judged(digits, seed, n_window, change)
        assert found.alarm
        assert {check.name for check in found.checks if check.alarm} >= names
        assert "is usual" in found.reason


@pytest.mark.parametrize("change", [dark, defocused])
def test_one_camera_of_three_that_is_broken_is_seen(digits: DigitsTraffic, change: Change) -> None:
    assert sum(judged(digits, seed, change=some(change, 1 / 3)).alarm for seed in range(40)) == 40


@pytest.mark.parametrize("change", [None, inverted, noisy, shifted_right, half_contrast, darker, some(dark, 0.03), some(frozen, 0.2)])
def test_pictures_that_only_look_different_raise_none(digits: DigitsTraffic, change: Change | None) -> None:
    found = [judged(digits, seed, change=change) for seed in range(40)]
    assert [item.reason for item in found if item.alarm] == []


def test_false_alarms_at_the_edge_of_what_is_usual(digits: DigitsTraffic) -> None:
    """At a level of 1e-6 no simulation sees an alarm; so the p-values of the same checks must be valid at levels that it can see."""
    rng = np.random.default_rng(0)
    window, reference = digits.draw(0, 200)
    limits = QualityLimits.of(reference)
    n_windows, p_values = 2_000, []
    for _ in range(n_windows):
        statistics = window.statistics.copy()
        statistics[rng.random(200) < limits.usual_frac["flat"], 1] = 0.0
        found = judge_data_quality(replace(window, statistics=statistics), limits)
        p_values.append(next(check.p_value for check in found.checks if check.name == "flat"))
    for level in (0.05, 0.01):
        n_alarms = sum(value <= level for value in p_values)
        assert binomtest(n_alarms, n_windows, level, alternative="greater").pvalue > 0.001
        assert n_alarms > 0


def test_the_alarm_is_at_the_binomial_tail(digits: DigitsTraffic) -> None:
    """The least number of flat requests that is an alarm, against SciPy's own binomial test."""
    window, reference = digits.draw(0, 200)
    limits = QualityLimits.of(reference)
    expected = next(k for k in range(201) if binomtest(k, 200, 0.05, alternative="greater").pvalue <= FALSE_ALARM_LEVEL / 3)
    for n_flat, alarm in ((expected - 1, False), (expected, True)):
        statistics = window.statistics.copy()
        statistics[:n_flat, 1] = 0.0
        assert judge_data_quality(replace(window, statistics=statistics), limits).alarm is alarm


def test_a_reference_with_many_equal_samples_allows_them(digits: DigitsTraffic) -> None:
    """Where clients always send a few forms, the same input again is usual."""
    window, reference = digits.draw(0, 200)
    few = np.random.default_rng(0).integers(0, 3, 500)
    forms = replace(reference, embeddings=reference.embeddings[few])
    limits = QualityLimits.of(forms)
    assert limits.usual_frac["repeated"] > 0.3
    traffic = replace(window, embeddings=reference.embeddings[np.random.default_rng(1).integers(0, 3, 200)])
    assert not judge_data_quality(traffic, limits).alarm


@pytest.mark.slow
@pytest.mark.shared("that no change of real digits which leaves pictures behind raises a data-quality alarm")
def test_changes_of_real_digits_raise_none() -> None:
    from benchmarks import real_digits
    from benchmarks.drift_detection import changed_pools

    digits = real_digits.RealDigits()
    limits = QualityLimits.of(real_digits.as_reference(digits.own.rows(np.arange(1_000))))
    for name, pool in changed_pools(digits).items():
        window = real_digits.as_window(pool.rows(np.arange(200)))
        reason = judge_data_quality(window, limits).reason
        # Strokes of one pixel are gone then, and with them one digit in five.
        assert ("show next to nothing" in reason) if name == "thinner" else reason == "", name


def test_few_requests_are_not_judged(digits: DigitsTraffic) -> None:
    found = judged(digits, 0, 49, dark)
    assert (found.checks, found.alarm) == ((), False)


def test_inputs_that_are_no_images_are_checked_for_standing_still_only(digits: DigitsTraffic) -> None:
    window, reference = digits.draw(0, 200, change=frozen)
    texts = replace(window, statistics=window.statistics[:, :2]), replace(reference, statistics=reference.statistics[:, :2])
    found = judge_data_quality(texts[0], QualityLimits.of(texts[1]))
    assert [check.name for check in found.checks] == ["repeated"]
    assert found.alarm


def test_the_verdict_carries_it_also_where_the_window_is_too_small_for_drift(digits: DigitsTraffic) -> None:
    verdict = judge_window(*digits.draw(0, 60, change=dark), MonitorSection(), Allowance(level=0.01, balance=0.0))
    assert verdict.verdict == "insufficient_data"
    assert verdict.data_quality_problem is not None
    assert verdict.data_quality_problem.startswith("60 of 60 requests show next to nothing")
    intact = judge_window(*digits.draw(0, 60), MonitorSection(), Allowance(level=0.01, balance=0.0))
    assert intact.data_quality_problem is None


def test_bursts_of_the_same_input_are_traffic(digits: DigitsTraffic) -> None:
    """Frames of a video: ten in a row are one picture."""
    window, reference = digits.draw(0, 200)
    places = np.repeat(np.arange(20), 10)
    burst: Window = replace(window, embeddings=window.embeddings[places], statistics=window.statistics[places])
    assert not judge_data_quality(burst, QualityLimits.of(reference)).alarm


def test_an_empty_window(digits: DigitsTraffic) -> None:
    _, reference = digits.draw(0, 50)
    answers = digits.answer(np.zeros((1, 64)), np.zeros(1, dtype=np.int64))
    assert not judge_data_quality(as_window(answers), QualityLimits.of(reference)).alarm
