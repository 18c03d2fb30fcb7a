from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from benchmarks.digits_traffic import Answers, DigitsTraffic, as_reference, as_window
from monitoring.label_shift import estimate_class_shares
from monitoring.reference import Reference
from monitoring.window import Window
from tests.monitoring.label_traffic import draw_reference, draw_window

RNG = np.random.default_rng


def drawn(answers: Answers, seed: int, frac_of_first: float, n_window: int = 300) -> tuple[Window, Reference]:
    """Reference as it is; a window in which a class of digits has another share."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(answers.true_indices))
    reference, rest = order[:600], order[600:]
    first = rest[answers.true_indices[rest] == 8]
    others = rest[answers.true_indices[rest] != 8]
    n_first = round(frac_of_first * n_window)
    places = np.concatenate([rng.choice(first, n_first), rng.choice(others, n_window - n_first)])
    return as_window(answers.rows(places)), as_reference(answers.rows(reference))


def test_the_share_of_a_class_is_found_within_its_interval(digits: DigitsTraffic) -> None:
    covered, answers = 0, digits.answer(digits._pixels, digits._labels)
    for seed in range(40):
        shares = estimate_class_shares(*drawn(answers, seed, 0.5), RNG(0))
        assert shares is not None
        assert shares[0].label == "8"
        assert sum(share.window_frac for share in shares) == pytest.approx(1)
        covered += shares[0].low <= 0.5 <= shares[0].high
    assert stats.binomtest(covered, 40, 0.95, alternative="less").pvalue > 1e-3


def test_it_corrects_what_the_answers_alone_get_wrong() -> None:
    """A classifier that calls 30 % of the second class the first: answers say 0.65, the truth is 0.5."""
    rng = np.random.default_rng(1)
    window, reference = draw_window(0, 20), draw_reference(0, 20)
    true = np.repeat([0, 1, 2], 2_000)
    confused = np.where((true == 1) & (rng.random(6_000) < 0.3), 0, true)
    now = np.repeat([0, 1], 1_000)
    answered = np.where((now == 1) & (rng.random(2_000) < 0.3), 0, now)
    reference = replace(reference, thresholds=None, true_indices=true, probabilities=np.eye(3)[confused], correct=confused == true)
    window = replace(window, thresholds=None, predicted_sets=None, predicted_indices=answered, request_ids=tuple(map(str, range(2_000))))
    shares = estimate_class_shares(window, reference, RNG(0))
    assert shares is not None
    found = {share.label: share.window_frac for share in shares}
    assert found["cat"] == pytest.approx(0.5, abs=0.03)
    assert found["owl"] == pytest.approx(0.0, abs=0.01)
    assert (answered == 0).mean() > 0.62


def test_intervals_cover_the_shares_that_the_traffic_is_drawn_from(digits: DigitsTraffic) -> None:
    drawn_from = np.bincount(digits._labels, minlength=10) / len(digits._labels)
    inside = []
    for seed in range(40):
        shares = estimate_class_shares(*digits.draw(seed, 300), RNG(0))
        assert shares is not None
        inside += [share.low <= drawn_from[int(share.label)] <= share.high for share in shares]
    assert np.mean(inside) > 0.92


def test_it_says_nothing_where_it_cannot_know(digits: DigitsTraffic) -> None:
    window, reference = digits.draw(0, 100)
    assert estimate_class_shares(draw_window(0, 100), draw_reference(0), RNG(0)) is None  # sets of labels
    absent = replace(reference, true_indices=np.where(reference.true_indices == 3, 4, reference.true_indices))
    assert estimate_class_shares(window, absent, RNG(0)) is None
    blind = replace(reference, probabilities=np.tile(np.eye(10)[0], (reference.n_samples, 1)))
    assert estimate_class_shares(window, blind, RNG(0)) is None
