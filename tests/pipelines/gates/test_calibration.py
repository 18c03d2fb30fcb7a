"""Calibration: the bound against a slow oracle and by simulation, the debiased value, sets, planted over-confidence."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from scipy.stats import beta, binom

from pipelines.answers import TestAnswers
from pipelines.config import CalibrationGate
from pipelines.gates.calibration import binned_errors, calibration, debiased_error, error_upper_bound, n_bins


def rule(**changes: object) -> CalibrationGate:
    return CalibrationGate.model_validate({"kind": "calibration", **changes})


def answers_with(confidences: np.ndarray, right: np.ndarray, **changes: object) -> TestAnswers:
    n = len(confidences)
    content: dict[str, object] = {
        "ids": np.array([f"id{row:05}" for row in range(n)]),
        "domains": np.full(n, "default"),
        "labels": np.full(n, "cat"),
        "predicted": np.where(right, "cat", "dog"),
        "confidences": confidences,
    }
    return TestAnswers(**(content | changes))  # type: ignore[arg-type]


def sure(n: int, seed: int = 0) -> np.ndarray:
    return 0.5 + 0.5 * np.random.default_rng(seed).beta(6, 0.6, n)


def test_right_confidences_pass_and_overconfident_ones_do_not() -> None:
    rng = np.random.default_rng(1)
    confidences = sure(1500)
    drawn = rng.random(1500)
    assert calibration(rule(), answers_with(confidences, drawn < confidences)).outcome == "pass"
    refused = calibration(rule(), answers_with(confidences, drawn < confidences - 0.1))
    assert refused.outcome == "refuse"
    assert "which is above the 5 % that are allowed" in refused.reason
    assert refused.statistic == pytest.approx(0.1, abs=0.02)
    assert refused.high is not None
    assert refused.high > refused.statistic


def test_underconfidence_and_both_at_once_are_seen() -> None:
    """Errors of opposite directions do not cancel."""
    confidences = np.repeat([0.6, 0.9], 1000)
    drawn = np.random.default_rng(2).random(2000)
    for true in (confidences + 0.1, np.repeat([0.7, 0.8], 1000)):
        decision = calibration(rule(), answers_with(confidences, drawn < true))
        assert (decision.outcome, decision.statistic) == ("refuse", pytest.approx(0.1, abs=0.02))


def test_too_few_samples_are_no_data() -> None:
    few = calibration(rule(), answers_with(sure(99), np.full(99, True)))
    assert (few.outcome, few.statistic) == ("insufficient_data", None)
    assert "fewer than the 100" in few.reason
    confidences = np.full(120, 0.8)
    decision = calibration(rule(), answers_with(confidences, np.arange(120) % 5 > 0))
    assert decision.outcome == "insufficient_data"
    assert "not even perfect confidences would show 5 %" in decision.reason


def slow_bound(confidences: np.ndarray, right: np.ndarray, n_groups: int, level: float) -> float:
    """Direction by direction, sample by sample."""
    n = len(confidences)
    order = np.argsort(confidences, kind="stable")
    group_of = {int(row): place * n_groups // n for place, row in enumerate(order)}
    highest = 0.0
    for added in product([False, True], repeat=n_groups):
        sums = {True: [0.0, 0.0, 0.0], False: [0.0, 0.0, 0.0]}  # events, promised, squares of their difference
        for group in range(n_groups):
            rows = [row for row in range(n) if group_of[row] == group]
            is_sure = np.mean([confidences[row] for row in rows]) >= 0.5
            for row in rows:
                event = float(not right[row]) if is_sure else float(right[row])
                promised = 1 - confidences[row] if is_sure else confidences[row]
                for place, value in enumerate((event, promised, (event - promised) ** 2)):
                    sums[added[group]][place] += value
        more, less = sums[True][0] / n, sums[False][0] / n
        above = beta_quantile(more + 1 / n, (sums[True][2] + 1) / n**2, level) - more if any(added) else 0.0
        below = less - (beta_quantile(less, sums[False][2] / n**2, 1 - level) if less else 0.0)
        excess = more - less - (sums[True][1] - sums[False][1]) / n
        highest = max(highest, excess + math.hypot(above, below))
    return highest


def beta_quantile(mean: float, variance: float, share: float) -> float:
    size = mean * (1 - mean) / variance - 1
    return float(beta.ppf(share, mean * size, (1 - mean) * size))


@pytest.mark.parametrize("seed", range(4))
def test_the_bound_is_that_of_a_slow_oracle(seed: int) -> None:
    rng = np.random.default_rng(seed)
    confidences, right = rng.random(60), rng.random(60) < 0.7
    # No sample has two pairs, so nothing within a sample is opposed.
    bins = binned_errors(confidences[:, None], right[:, None], 4)
    assert error_upper_bound(bins, 0.95) == pytest.approx(slow_bound(confidences, right, 4, 0.95))


def test_the_debiased_error_is_nearer_to_the_truth() -> None:
    """Of right confidences 0; the measured one is far from it."""
    rng, confidences = np.random.default_rng(3), sure(300)
    bins = [binned_errors(confidences[:, None], rng.random((300, 1)) < confidences[:, None], 5) for _ in range(300)]
    measured, debiased = np.mean([found.error for found in bins]), np.mean([debiased_error(found) for found in bins])
    assert debiased < 0.7 * measured
    large = binned_errors(confidences[:, None], np.zeros((300, 1), dtype=bool), 5)
    assert debiased_error(large) == pytest.approx(large.error)


def test_more_samples_are_seen_in_more_bins() -> None:
    assert [n_bins(n) for n in (100, 999, 1000, 1400, 2000, 100_000)] == [5, 5, 5, 7, 10, 10]


def drawn_sets(rng: np.random.Generator, n: int, shift: float) -> TestAnswers:
    """Three labels, each sample an easy or a hard one; the probabilities are too high by `shift`."""
    true_rate = rng.beta(0.5, 1.5, (n, 3)) * 0.9
    common = rng.random((n, 1))
    # Labels of a sample depend on each other: a third of the samples answers all three by one throw.
    throws = np.where(rng.random((n, 1)) < 1 / 3, common, rng.random((n, 3)))
    has = throws < true_rate
    texts = np.array(["|".join(name for name, there in zip("abc", row, strict=True) if there) for row in has.tolist()])
    probabilities = true_rate + shift
    return answers_with(
        np.full(n, 0.5),
        np.full(n, True),
        labels=texts,
        predicted=texts,
        labels_per_sample="many",
        exclusive=False,
        probabilities=probabilities,
        label_names=("a", "b", "c"),
    )


def test_sets_are_judged_by_the_pairs_of_sample_and_label() -> None:
    rng = np.random.default_rng(4)
    assert calibration(rule(), drawn_sets(rng, 1500, 0.0)).outcome == "pass"
    refused = calibration(rule(), drawn_sets(rng, 1500, 0.1))
    assert (refused.outcome, refused.n) == ("refuse", 1500)
    assert refused.statistic == pytest.approx(0.1, abs=0.02)


# Simulations at the border: the error is exactly the limit, so every pass is wrong.


def most_by_chance(n_draws: int, rate: float) -> int:
    return int(binom.isf(1e-5, n_draws, rate))


def at_the_border(confidences: np.ndarray, directions: np.ndarray, error: float) -> np.ndarray:
    """Chances of being right whose calibration error is `error`, the bins being off in the given directions."""
    groups = np.arange(len(confidences)) * len(directions) // len(confidences)

    def chances(size: float) -> np.ndarray:
        return np.asarray(np.clip(confidences + size * directions[groups], 0, 1))

    low, high = 0.0, 3.0
    for _ in range(60):
        middle = (low + high) / 2
        off = np.abs(np.bincount(groups, chances(middle) - confidences)).sum() / len(confidences)
        low, high = (middle, high) if off < error else (low, middle)
    return chances(high)


DIRECTIONS = {"over": -np.ones(5), "under": np.ones(5), "both": np.array([1, 1, -1, -1, -1]), "last": np.array([0, 0, 0, 0, -1])}


def wrong_passes(n: int, direction: str, limit: float, levels: list[float], n_draws: int) -> list[int]:
    rng, confidences = np.random.default_rng(n), np.sort(sure(n))
    chances = at_the_border(confidences, DIRECTIONS[direction], limit)
    assert np.abs(np.bincount(np.arange(n) * 5 // n, chances - confidences)).sum() / n == pytest.approx(limit)
    bins = [binned_errors(confidences[:, None], (rng.random(n) < chances)[:, None], 5) for _ in range(n_draws)]
    return [sum(error_upper_bound(found, level) <= limit for found in bins) for level in levels]


@pytest.mark.parametrize("direction", ["over", "both"])
def test_wrong_passes_stay_within_the_level(direction: str) -> None:
    (n_passed,) = wrong_passes(600, direction, 0.05, [0.95], 800)
    assert n_passed <= most_by_chance(800, 0.05)


@pytest.mark.slow
@pytest.mark.parametrize("limit", [0.02, 0.05, 0.1])
@pytest.mark.parametrize("direction", ["over", "both", "last"])
@pytest.mark.parametrize("n", [100, 300, 999])
def test_wrong_passes_in_6000_draws(n: int, direction: str, limit: float) -> None:
    levels = [0.95, 0.99, 0.9975]
    for level, n_passed in zip(levels, wrong_passes(n, direction, limit, levels, 6000), strict=True):
        assert n_passed <= most_by_chance(6000, 1 - level)


def test_the_measured_error_alone_would_pass_too_often() -> None:
    """The planted fault: without its bound, half of the draws at the border pass."""
    rng, confidences = np.random.default_rng(5), np.sort(sure(999))
    chances = at_the_border(confidences, DIRECTIONS["over"], 0.05)
    bins = [binned_errors(confidences[:, None], (rng.random(999) < chances)[:, None], 5) for _ in range(300)]
    assert sum(debiased_error(found) <= 0.05 for found in bins) > 100


@pytest.mark.slow
def test_wrong_passes_of_sets_stay_within_the_level() -> None:
    rng, n_draws = np.random.default_rng(6), 2000
    gate_rule = rule(max_error=0.05)
    n_passed = sum(calibration(gate_rule, drawn_sets(rng, 400, 0.05)).outcome == "pass" for _ in range(n_draws))
    assert n_passed <= most_by_chance(n_draws, 0.05)
