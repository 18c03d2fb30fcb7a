from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.digits_traffic import DigitsTraffic, inverted
from monitoring.signals.run import Strictness, run_signals
from monitoring.where import cliffs_delta, embedding_distances, where

numbers = st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=20)


@settings(max_examples=50)
@given(numbers, numbers)
def test_cliffs_delta_pair_by_pair(before: list[float], now: list[float]) -> None:
    pairs = [np.sign(b - a) for a in before for b in now]
    assert cliffs_delta(np.array(before), np.array(now)) == pytest.approx(np.mean(pairs))


def test_shares_medians_and_domains(digits: DigitsTraffic) -> None:
    window, reference = digits.draw(0, 100, change=inverted)
    window = replace(window, domains=("digits",) * 60 + ("scanner 2",) * 30 + ("",) * 10)
    moved = where(window, reference, run_signals(window, reference, Strictness(0.01, 0)))
    brightness = next(move for move in moved.numbers if move.name == "brightness")
    assert brightness.reference_median == pytest.approx(np.median(reference.statistics[:, 0]))
    assert brightness.window_median == pytest.approx(np.median(window.statistics[:, 0]))
    assert brightness.drifted
    assert brightness.effect > 0.9
    assert [move.drifted for move in moved.numbers] == sorted((move.drifted for move in moved.numbers), reverse=True)
    assert sum(move.window_frac for move in moved.classes) == pytest.approx(1)
    for move in moved.classes:
        assert move.reference_frac == np.mean(reference.predicted_indices == int(move.label))
    counts = {count.domain: (count.n_requests, count.is_new, count.n_labelled) for count in moved.domains}
    assert counts == {"digits": (60, False, 60), "scanner 2": (30, True, 30), "": (10, None, 10)}


def test_domains_of_an_unrecorded_reference_are_neither_new_nor_known(digits: DigitsTraffic) -> None:
    window, reference = digits.draw(0, 50)
    assert where(window, replace(reference, domains=None), ()).domains[0].is_new is None


def test_embedding_distance_is_one_for_the_usual_sample(digits: DigitsTraffic) -> None:
    window, reference = digits.draw(0, 100)
    before, now = embedding_distances(window, reference)
    assert np.median(before) == pytest.approx(1)
    assert np.median(now) == pytest.approx(1, abs=0.1)
    centre = reference.embeddings.mean(axis=0)
    ratio = np.linalg.norm(window.embeddings[3] - centre) / np.linalg.norm(reference.embeddings[5] - centre)
    assert now[3] / before[5] == pytest.approx(ratio)
