from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from pipelines.core.errors import DataError
from pipelines.equivalence import equivalence_of


def test_equal_answers_are_equivalent_from_a_number_of_samples_on() -> None:
    assert equivalence_of(0, 0, 1_000, 0.02).verdict == "equivalent"
    few = equivalence_of(0, 0, 50, 0.02)
    assert few.verdict == "insufficient_data"
    assert "not even equal answers show a difference of less than 2 points" in few.reason


def test_a_planted_loss_is_different_in_both_directions() -> None:
    for wins, losses in ((0, 60), (60, 0)):
        found = equivalence_of(wins, losses, 1_000, 0.02)
        assert found.verdict == "different"
        assert found.low <= found.difference <= found.high
        assert found.difference == pytest.approx((wins - losses) / 1_000)


def test_it_is_symmetric() -> None:
    one, other = equivalence_of(3, 9, 800, 0.03), equivalence_of(9, 3, 800, 0.03)
    assert (one.p_value, one.verdict) == (other.p_value, other.verdict)


@pytest.mark.parametrize("sign", [1, -1])
def test_models_that_differ_by_the_margin_are_seldom_called_equivalent(sign: int) -> None:
    n, margin, n_windows = 400, 0.04, 4_000
    rng = np.random.default_rng(0)
    more, fewer = 0.05, 0.01  # of discordant samples; they differ by the margin
    chances = [more, fewer, 1 - more - fewer] if sign > 0 else [fewer, more, 1 - more - fewer]
    counts = rng.multinomial(n, chances, n_windows)
    errors = sum(equivalence_of(int(wins), int(losses), n, margin).verdict == "equivalent" for wins, losses, _ in counts)
    assert binomtest(errors, n_windows, 0.05, alternative="greater").pvalue > 1e-3
    assert errors > 0  # else the bound would hold of a test that cannot say "equivalent"


def test_impossible_counts_are_refused() -> None:
    with pytest.raises(DataError, match="5 wins, 6 losses of 10 samples"):
        equivalence_of(5, 6, 10, 0.02)
