"""Both conditions against slow references, at their borders, and their error rates by drawing test sets."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from pipelines.core.errors import DataError
from pipelines.gates.decision import Decision
from pipelines.gates.paired_conditions import Asked, Compared, compare, shown_better, shown_not_worse
from tests.pipelines.gates.test_error_rates import draws, most_by_chance, n_passes


def asked(level: float = 0.95, min_n: int = 30) -> Asked:
    return Asked("robustness", "a condition", level, min_n, {"severity": 2})


def found(n_wins: int, n_losses: int, n: int, n_both: int | None = None) -> Compared:
    both = (n - n_wins - n_losses) // 2 if n_both is None else n_both
    return Compared(n, n_wins, n_losses, n_wins + both, n_losses + both)


def better(*counts: int, **changes: float) -> Decision:
    return shown_better(found(*counts), asked(**changes))  # type: ignore[arg-type]


def not_worse(n_wins: int, n_losses: int, n: int, margin: float = 0.1, **changes: float) -> Decision:
    return shown_not_worse(found(n_wins, n_losses, n), margin, asked(**changes))  # type: ignore[arg-type]


def test_samples_are_paired_by_id_whatever_their_order(answers) -> None:
    one, other = answers([True, True, False, False, True]), answers([True, False, True, False, False])
    order = np.array([3, 1, 4, 0, 2])
    turned = type(other)(other.ids[order], other.domains[order], other.labels[order], other.predicted[order], other.confidences[order])
    assert compare(one, turned) == compare(one, other) == Compared(5, 2, 1, 3, 2)


def test_other_samples_are_bad_data(answers) -> None:
    with pytest.raises(DataError, match=r"other ids\. Allowed: two evaluations of the same test samples\. Next: .*regraft retrain"):
        compare(answers([True] * 3), answers([True] * 4))
    with pytest.raises(DataError, match="other labels"):
        compare(answers([True] * 3), answers([True] * 3, labels="dog"))


@pytest.mark.parametrize(("n_wins", "n_losses"), [(0, 0), (5, 0), (4, 0), (12, 3), (12, 6), (3, 12), (40, 30)])
def test_better_is_the_exact_mcnemar_test(n_wins: int, n_losses: int) -> None:
    decision = better(n_wins, n_losses, 200)
    expected = binomtest(n_wins, n_wins + n_losses, 0.5, alternative="greater").pvalue if n_wins + n_losses else 1.0
    assert decision.p_value == pytest.approx(expected)
    assert decision.outcome == ("pass" if expected <= 0.05 else "refuse")


def test_a_tie_and_a_loss_refuse_however_few_errors_there_are() -> None:
    for counts in [(0, 0, 200, 200), (3, 3, 200, 194), (0, 2, 200, 198)]:
        decision = better(*counts)
        assert decision.outcome == "refuse"
        assert "no gain" in decision.reason


def test_a_gain_that_no_result_could_show_lacks_data() -> None:
    # The other is wrong on 4 samples: even without an error the p-value would be 1/16.
    decision = better(3, 0, 200, 196)
    assert decision.outcome == "insufficient_data"
    assert "not even perfect answers" in decision.reason
    # Wrong on 5 it could have been shown, and was not.
    assert better(3, 0, 200, 195).outcome == "refuse"
    assert better(5, 0, 200, 195).outcome == "pass"


@pytest.mark.parametrize("condition", [better, not_worse])
def test_too_few_samples_lack_data(condition) -> None:
    decision = condition(20, 0, 29)
    assert decision.outcome == "insufficient_data"
    assert "fewer than the 30 samples" in decision.reason
    assert condition(20, 0, 30).outcome == "pass"


def test_a_loss_within_the_margin_that_is_not_sure_refuses_and_more_is_said_to_help() -> None:
    decision = not_worse(0, 15, 200)
    assert decision.outcome == "refuse"
    assert "within the margin, but not surely so" in decision.reason
    assert decision.low < -0.1 < decision.statistic  # type: ignore[operator]


def test_a_loss_beyond_the_margin_refuses_also_with_few_samples() -> None:
    decision = not_worse(0, 10, 35, margin=0.05)
    assert decision.outcome == "refuse"
    assert "more than that was lost" in decision.reason


def test_a_tie_passes_from_the_size_on_at_which_it_shows_the_margin() -> None:
    needed = math.ceil(math.log(0.05) / math.log(0.95))
    assert not_worse(0, 0, 200, margin=0.05).outcome == "pass"
    decision = not_worse(0, 0, needed - 1, margin=0.05)
    assert decision.outcome == "insufficient_data"
    assert "not even equal answers show it" in decision.reason


def test_a_margin_of_nothing_needs_a_gain_and_a_margin_of_all_needs_nothing() -> None:
    assert not_worse(0, 0, 500, margin=0.0).outcome == "refuse"
    assert not_worse(30, 2, 500, margin=0.0).outcome == "pass"
    assert not_worse(0, 300, 500, margin=1.0).outcome == "pass"


def test_the_decision_carries_its_counts() -> None:
    decision = not_worse(2, 6, 400)
    assert decision.detail == {
        "test": "non_inferior",
        "n_wins": 2,
        "n_losses": 6,
        "accuracy": 198 / 400,
        "accuracy_compared_with": 202 / 400,
        "severity": 2,
    }
    assert (decision.n, decision.threshold, decision.level) == (400, -0.1, 0.95)


# The share of samples that a corruption of exactly the margin's cost changes: losses alone, or wins among them.
@pytest.mark.parametrize("discordance", [0.1, 0.15, 0.25])
@pytest.mark.parametrize(("n", "n_draws"), [(60, 1000), pytest.param(200, 5000, marks=pytest.mark.slow)])
def test_a_loss_of_the_whole_margin_passes_within_the_stated_rate(n: int, n_draws: int, discordance: float) -> None:
    outcomes = draws(np.random.default_rng(1), n, discordance, -0.1, n_draws)
    passed = n_passes(outcomes, n, cache(lambda wins, losses, n: not_worse(wins, losses, n).outcome == "pass"))
    assert passed <= most_by_chance(n_draws, 0.05)
    assert passed >= binom.ppf(1e-5, n_draws, 0.02)  # the test is not one that never passes


@pytest.mark.parametrize("level", [0.9, 0.95])
@pytest.mark.parametrize("n", [60, 300])
def test_an_equal_baseline_is_beaten_by_chance_within_the_stated_rate(n: int, level: float) -> None:
    outcomes = draws(np.random.default_rng(2), n, 0.2, 0.0, 20_000)
    passed = n_passes(outcomes, n, lambda wins, losses, n: better(wins, losses, n, level=level).outcome == "pass")
    assert passed <= most_by_chance(20_000, 1 - level)
    assert passed >= binom.ppf(1e-5, 20_000, 0.3 * (1 - level))
