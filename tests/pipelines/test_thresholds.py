from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from pipelines.thresholds import FEWEST_FOR_A_THRESHOLD, _gain, best_f1_threshold, fit_thresholds


def best_by_trying(probabilities: np.ndarray, has: np.ndarray) -> tuple[float, float]:
    """The best F1 and the threshold nearest to 0.5 that reaches it, over every threshold that gives another answer."""
    values = np.unique(np.concatenate([[0.0], probabilities]))
    scores = [((low + high) / 2, f1_score(has, probabilities >= (low + high) / 2)) for low, high in itertools.pairwise(values)]
    best = max(score for _, score in scores)
    return best, min((t for t, score in scores if score == best), key=lambda t: abs(t - 0.5))


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.sampled_from([0.03, 0.2, 0.5]))
def test_the_best_threshold_is_the_best_of_all(seed: int, rate: float) -> None:
    rng = np.random.default_rng(seed)
    has = rng.random(60) < rate
    has[0], has[1] = True, False
    probabilities = np.round(np.clip(rng.normal(0.2 + 0.4 * has, 0.2), 0.01, 0.99), 2)  # rounded: ties
    best, expected = best_by_trying(probabilities, has)
    found = best_f1_threshold(probabilities, has)
    assert f1_score(has, probabilities >= found) == pytest.approx(best)
    assert found == pytest.approx(expected)


def drawn(seed: int, n: int, sharpness: float, offset: float) -> tuple[np.ndarray, np.ndarray]:
    """Calibrated probabilities of one label, and labels drawn from them."""
    rng = np.random.default_rng(seed)
    probabilities = 1 / (1 + np.exp(-(sharpness * rng.normal(size=n) + offset)))
    return probabilities[:, None], (rng.random(n) < probabilities)[:, None]


def test_a_rare_label_that_is_hard_to_tell_gets_half_of_the_best_f1() -> None:
    """Of calibrated probabilities the best threshold is half of the best F1 (Lipton et al. 2014)."""
    probabilities, has = drawn(0, 20_000, sharpness=1.0, offset=-2.0)
    (threshold,) = fit_thresholds(probabilities, has)
    assert threshold == pytest.approx(f1_score(has[:, 0], probabilities[:, 0] >= threshold) / 2, abs=0.03)
    assert threshold < 0.3


def test_a_label_that_is_easy_to_tell_keeps_one_half() -> None:
    """The noise of a small validation split chose thresholds that were worse than 0.5 on new samples."""
    kept = [fit_thresholds(*drawn(seed, 90, sharpness=6.0, offset=0.0))[0] == 0.5 for seed in range(40)]
    assert np.mean(kept) > 0.8


def test_on_new_samples_it_is_as_good_as_one_half_and_better_where_it_matters() -> None:
    gains = []
    for sharpness, offset in ((6.0, 0.0), (3.0, -1.0), (1.0, -2.0)):
        new, has = drawn(10_000, 20_000, sharpness, offset)
        before = f1_score(has[:, 0], new[:, 0] >= 0.5)
        chosen = [fit_thresholds(*drawn(seed, 200, sharpness, offset))[0] for seed in range(20)]
        gains.append(np.mean([f1_score(has[:, 0], new[:, 0] >= threshold) for threshold in chosen]) - before)
    easy, middling, hard = gains
    assert easy > -0.003
    assert middling > -0.003
    assert hard > 0.15


def test_the_standard_error_of_a_gain_is_that_of_repeated_draws() -> None:
    results = []
    for seed in range(300):
        probabilities, has = drawn(seed, 300, sharpness=2.0, offset=-1.0)
        results.append(_gain(probabilities[:, 0] >= 0.3, probabilities[:, 0] >= 0.5, has[:, 0], np.arange(300)))
    gains, errors = np.array(results).T
    assert errors.mean() == pytest.approx(gains.std(), rel=0.15)


def test_copies_in_a_group_are_no_more_evidence() -> None:
    """The threshold moves about as often with ten frames of each film as with one, where 0.5 is the best there is."""
    moved = {"single": 0, "frames as samples": 0, "frames in groups": 0}
    for seed in range(60):
        probabilities, has = drawn(seed, 100, sharpness=6.0, offset=0.0)
        many, flags, groups = np.repeat(probabilities, 10, axis=0), np.repeat(has, 10, axis=0), np.repeat(np.arange(100), 10)
        order = np.random.default_rng(seed).permutation(1000)
        moved["single"] += fit_thresholds(probabilities, has)[0] != 0.5
        moved["frames as samples"] += fit_thresholds(many[order], flags[order])[0] != 0.5
        moved["frames in groups"] += fit_thresholds(many[order], flags[order], groups[order])[0] != 0.5
    assert moved["frames as samples"] > 2 * moved["frames in groups"]
    assert moved["frames in groups"] <= moved["single"] + 5 <= 14


def test_a_label_with_few_samples_on_one_side_keeps_one_half() -> None:
    probabilities = np.tile(np.linspace(0.01, 0.2, 40)[:, None], (1, 4))
    targets = np.zeros((40, 4))
    for label, n_positive in enumerate((FEWEST_FOR_A_THRESHOLD - 1, FEWEST_FOR_A_THRESHOLD, 31, 30)):
        targets[-n_positive:, label] = 1
    few, enough, few_without, enough_without = fit_thresholds(probabilities, targets)
    assert (few, few_without) == (0.5, 0.5)
    assert 0.1 < enough < 0.2
    assert enough_without < 0.1


def test_probabilities_that_cannot_be_told_apart() -> None:
    targets = np.arange(40)[:, None] % 2
    assert fit_thresholds(np.zeros((40, 1)), targets) == (0.5,)
    assert fit_thresholds(np.ones((40, 1)), targets) == (0.5,)
