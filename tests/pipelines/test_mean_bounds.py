"""Bounds of weighted sums: against Clopper and Pearson for equal weights, by simulation for unequal ones."""

import numpy as np
import pytest
from scipy.stats import binom

from pipelines.intervals import one_sided_bounds
from pipelines.mean_bounds import lower_bound, p_value, upper_bound


@pytest.mark.parametrize("n", [30, 100, 1000])
def test_equal_weights_come_near_to_clopper_and_pearson(n: int) -> None:
    for hits in range(n):
        share = hits / n
        exact = one_sided_bounds(hits, n, 0.95)
        high, low = upper_bound(share, share * (1 - share) / n, 1 / n, 0.95), lower_bound(share, share * (1 - share) / n, 0.95)
        assert exact.high <= high <= exact.high + 1.2 / n
        # Without another sample in it, the lower one is not exact.
        assert exact.low - 0.01 / n <= low <= exact.low + 1.8 / n


def test_without_a_loss_the_bound_is_that_of_one_more_sample() -> None:
    assert upper_bound(0.0, 0.0, 0.01, 0.95) == pytest.approx(0.03, rel=0.02)  # the rule of three
    assert lower_bound(0.0, 0.0, 0.95) == 0


def test_nothing_is_bounded_where_one_sample_is_everything() -> None:
    assert upper_bound(0.6, 0.01, 0.5, 0.95) == 1
    assert upper_bound(0.3, 0.5, 0.1, 0.95) == 1
    assert (p_value(0.6, 0.01, 0.5, 0.9), p_value(0.6, 0.01, 0.5, 1.0)) == (1, 0)


@pytest.mark.parametrize("loss", [0.0, 0.01, 0.2])
def test_bound_and_p_value_agree(loss: float) -> None:
    for level in (0.9, 0.95, 0.99):
        high = float(upper_bound(loss, loss / 200, 0.01, level))
        assert p_value(loss, loss / 200, 0.01, high) == pytest.approx(1 - level)


def test_arrays_are_bounded_one_by_one() -> None:
    losses = np.array([0.0, 0.1, 0.5, 1.0])
    together = upper_bound(losses, losses / 100, 0.01, 0.95)
    assert together.tolist() == [float(upper_bound(loss, loss / 100, 0.01, 0.95)) for loss in losses]


@pytest.mark.parametrize("level", [0.95, 0.99, 0.9975])
@pytest.mark.parametrize("rate", [0.002, 0.01, 0.05, 0.2])
@pytest.mark.parametrize("weights", [[1.0] * 100, [1.0] * 90 + [9.0] * 10, list(np.linspace(0.1, 3, 100))])
def test_the_true_loss_is_missed_within_the_level(weights: list[float], rate: float, level: float) -> None:
    n_draws = 20_000
    share = np.array(weights) / np.sum(weights)
    hits = np.random.default_rng(1).random((n_draws, len(share))) < rate
    high = upper_bound(hits @ share, hits @ share**2, share.max(), level)
    assert (high < rate).sum() <= binom.isf(1e-5, n_draws, 1 - level)
    # The same without the weight of one more sample is too low: this test can fail.
    if rate <= 0.01:
        too_low = upper_bound(hits @ share, hits @ share**2, 1e-12, level)
        assert ((too_low < rate) | ~hits.any(axis=1)).sum() > binom.isf(1e-5, n_draws, 1 - level)
