from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from pipelines.core.heads import confidence, decide, label_probabilities, sigmoid, softmax

probabilities = st.lists(st.floats(0, 1), min_size=2, max_size=5)


@given(st.lists(st.floats(-2_000, 2_000), min_size=1, max_size=6), st.floats(0.05, 20))
def test_sigmoid_equals_scipy_and_never_overflows(logits: list[float], temperature: float) -> None:
    # Below the smallest normal number SciPy gives 0.
    expected = special.expit(np.array([logits]) / temperature)
    np.testing.assert_allclose(sigmoid(np.array([logits]), temperature), expected, rtol=1e-12, atol=1e-300)


def test_the_kind_of_head_says_which_probabilities() -> None:
    logits = np.random.default_rng(0).normal(size=(4, 3))
    np.testing.assert_array_equal(label_probabilities(logits, 2.0, "one"), softmax(logits, 2.0))
    np.testing.assert_array_equal(label_probabilities(logits, 2.0, "many"), sigmoid(logits, 2.0))


@given(probabilities)
def test_one_label_is_the_first_of_the_most_probable(row: list[float]) -> None:
    assert decide(np.array([row])).tolist() == [[place == row.index(max(row)) for place in range(len(row))]]
    assert confidence(np.array([row])).tolist() == [max(row)]


@given(probabilities, st.floats(0.01, 0.99))
def test_the_confidence_of_a_set_is_the_chance_of_exactly_this_set(row: list[float], threshold: float) -> None:
    """Over all sets the chances of independent labels add up to 1, and the answer's is the confidence."""
    chances = {
        chosen: math.prod(p if has else 1 - p for p, has in zip(row, chosen, strict=True))
        for chosen in itertools.product([False, True], repeat=len(row))
    }
    thresholds = (threshold,) * len(row)
    answer = decide(np.array([row]), thresholds)[0]
    assert answer.tolist() == [p >= threshold for p in row]
    assert math.isclose(sum(chances.values()), 1, rel_tol=1e-9)
    assert math.isclose(confidence(np.array([row]), thresholds)[0], chances[tuple(answer.tolist())], rel_tol=1e-9, abs_tol=1e-300)


def test_the_confidence_is_calibrated_where_labels_are_independent() -> None:
    rng = np.random.default_rng(0)
    chances = rng.random((20_000, 3))
    truth = rng.random(chances.shape) < chances
    right = (decide(chances, (0.5, 0.3, 0.8)) == truth).all(axis=1)
    assert right.mean() == pytest.approx(confidence(chances, (0.5, 0.3, 0.8)).mean(), abs=3 * stats.sem(right))


def test_no_rows() -> None:
    assert confidence(np.zeros((0, 3))).shape == (0,)
    assert confidence(np.zeros((0, 3)), (0.5,) * 3).shape == (0,)
