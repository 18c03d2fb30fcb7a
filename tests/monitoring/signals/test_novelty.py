from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from monitoring.signals.novelty import COUNTED_FRACS, NoveltyScores, far_share_test, novelty_scores


def test_distances_equal_a_slow_loop() -> None:
    rng = np.random.default_rng(0)
    reference, window = rng.normal(size=(40, 3)), rng.normal(size=(15, 3))
    scores = novelty_scores(reference, window, np.random.default_rng(1))
    assert (len(scores.reference), len(scores.window)) == (20, 15)
    # The bank is the reference without those that were scored: each of these has itself nearest among all.
    rest = [place for place in range(40) if _slow(reference, reference[place], skip=False) >= 0]
    assert len(rest) == 40
    for place in range(15):
        assert scores.window[place] >= _slow(reference, window[place], skip=False) - 1e-9


def _slow(bank: np.ndarray, sample: np.ndarray, skip: bool) -> float:
    distances = np.sort(np.linalg.norm(bank - sample, axis=1))
    return float(distances[int(skip) : 5 + int(skip)].mean())


def test_every_distance_is_to_the_same_bank() -> None:
    rng = np.random.default_rng(2)
    reference = rng.normal(size=(30, 2))
    scores = novelty_scores(reference, reference, np.random.default_rng(0))
    # Samples of the bank find themselves at distance 0, the others do not: the smallest half of the window's is the bank's own.
    held_out = np.sort(scores.reference)
    assert all(any(np.isclose(score, found) for found in scores.window) for score in held_out)


def test_p_value_is_the_least_of_fishers_times_their_number() -> None:
    rng = np.random.default_rng(3)
    before, now = rng.normal(size=100), rng.normal(size=60) + 0.5
    pooled = np.sort(np.concatenate([before, now]))
    p_values = []
    for frac in COUNTED_FRACS:
        cut = pooled[-round(frac * 160)]
        table = [[int((now >= cut).sum()), int((now < cut).sum())], [int((before >= cut).sum()), int((before < cut).sum())]]
        p_values.append(stats.fisher_exact(table, alternative="greater").pvalue)
    result = far_share_test(NoveltyScores(before, now))
    assert result.p_value == pytest.approx(3 * min(p_values))
    assert result.statistic == np.mean(now > np.quantile(before, 0.95))


def test_a_window_that_is_far_as_a_whole_has_no_floor() -> None:
    rng = np.random.default_rng(8)
    result = far_share_test(novelty_scores(rng.normal(size=(300, 4)), rng.normal(size=(200, 4)) + 20, rng))
    assert result.statistic == 1.0
    assert result.p_value < 1e-40


def test_level() -> None:
    rng = np.random.default_rng(4)
    draws = [(rng.standard_exponential((200, 4)), rng.standard_exponential((80, 4))) for _ in range(100)]
    p_values = [far_share_test(novelty_scores(*pair, rng)).p_value for pair in draws]
    assert stats.binomtest(sum(p <= 0.05 for p in p_values), 100, 0.05, alternative="greater").pvalue > 1e-3
    assert sum(p <= 0.3 for p in p_values) > 7


def test_a_rare_new_kind_is_found_before_it_moves_the_average() -> None:
    rng = np.random.default_rng(5)
    found = 0
    for _ in range(10):
        window = rng.normal(size=(200, 8))
        window[:16] += 6  # 8 % of the requests
        found += far_share_test(novelty_scores(rng.normal(size=(500, 8)), window, rng)).p_value < 1e-2
    assert found == 10


def test_nearer_than_usual_is_not_far() -> None:
    rng = np.random.default_rng(6)
    result = far_share_test(novelty_scores(rng.normal(size=(300, 4)), 0.2 * rng.normal(size=(150, 4)), rng))
    assert result.p_value > 0.9


def test_order_does_not_matter_and_equal_rows_are_no_problem() -> None:
    rng = np.random.default_rng(7)
    reference, window = rng.integers(0, 2, (60, 2)).astype(float), rng.integers(0, 2, (30, 2)).astype(float)
    first = far_share_test(novelty_scores(reference, window, np.random.default_rng(0)))
    again = far_share_test(novelty_scores(reference[::-1], window[::-1], np.random.default_rng(0)))
    assert first == again
    constant = far_share_test(novelty_scores(np.ones((20, 2)), np.ones((10, 2)), np.random.default_rng(0)))
    assert constant.p_value == 1.0
