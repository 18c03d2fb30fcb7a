"""Error rates of the comparison by macro-F1 and AUROC, by drawing test sets at the border of each null hypothesis.

A bound on a simulated rate allows for the draws' own noise: it fails by chance in fewer than 1 of 100,000 runs, and the seeds are fixed.
"""

from collections.abc import Iterator

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import binom

from benchmarks.gate_power_paired import Losses, Situation, bootstrapped_f1, draw_answers, draw_scores, promotions
from pipelines.gates.paired_metrics import Metric, Scored, compare

LEVEL, MARGIN = 0.95, 0.03
CASES: list[tuple[Metric, int, bool, Losses]] = [
    ("macro_f1", 2, False, "everywhere"),
    ("macro_f1", 3, True, "rarest"),
    ("macro_f1", 10, True, "everywhere"),
    ("auroc", 2, False, "rarest"),
    ("auroc", 2, True, "everywhere"),
    ("auroc", 4, False, "everywhere"),
]


def most_by_chance(n_draws: int, rate: float = 1 - LEVEL) -> int:
    return int(binom.isf(1e-5, n_draws, rate))


@pytest.mark.parametrize("n", [100, 400])
@pytest.mark.parametrize(("metric", "n_labels", "rare", "losses"), CASES)
def test_a_candidate_worse_by_the_margin(metric: Metric, n_labels: int, rare: bool, losses: Losses, n: int) -> None:
    situation = Situation(metric, n_labels, rare, losses, -MARGIN)
    assert promotions(situation, n, -MARGIN, 300, np.random.default_rng(n))[0] <= most_by_chance(300)


@pytest.mark.slow
@pytest.mark.parametrize("n", [100, 300, 1000])
@pytest.mark.parametrize(("metric", "n_labels", "rare", "losses"), CASES)
def test_a_candidate_worse_by_the_margin_in_4000_draws(metric: Metric, n_labels: int, rare: bool, losses: Losses, n: int) -> None:
    situation = Situation(metric, n_labels, rare, losses, -MARGIN)
    assert promotions(situation, n, -MARGIN, 4000, np.random.default_rng(n))[0] <= most_by_chance(4000)


@pytest.mark.slow
@pytest.mark.parametrize("n", [100, 300])
@pytest.mark.parametrize(
    ("metric", "n_labels", "rare"), [("macro_f1", 2, False), ("macro_f1", 5, True), ("auroc", 2, False), ("auroc", 4, True)]
)
def test_a_candidate_that_is_no_better(metric: Metric, n_labels: int, rare: bool, n: int) -> None:
    situation = Situation(metric, n_labels, rare, "everywhere", 0.0)
    assert promotions(situation, n, 0.0, 4000, np.random.default_rng(n))[0] <= most_by_chance(4000)


def test_auroc_losses_that_a_test_set_rarely_holds_fool_the_usual_test() -> None:
    """Why DeLong's test does not decide: the planted fault is seen by the bound of these tests."""
    decided, wald, _ = promotions(Situation("auroc", 2, True, "rarest", -MARGIN), 200, -MARGIN, 300, np.random.default_rng(5))
    assert decided <= most_by_chance(300) < wald


def test_macro_f1_losses_that_a_test_set_rarely_holds_fool_the_usual_tests() -> None:
    """A champion that is always right, and a candidate that misses some of the rare label: often none of the 10 samples shows it."""
    missed = brentq(lambda rate: (1 - 1.9 / (1.9 + 0.05 * rate) + rate / (2 - rate)) / 2 - MARGIN, 0, 1)
    rng, rare = np.random.default_rng(5), np.arange(200) < 10
    right = np.stack([~rare, rare], axis=1)
    promoted = np.zeros(3, dtype=int)
    for _ in range(200):
        given = right & np.stack([np.ones(200, bool), rng.random(200) >= missed], axis=1)
        given[:, 0] |= ~given[:, 1]
        drawn = Scored("macro_f1", ("common", "rare"), right, given.astype(float), right.astype(float))
        found = compare(drawn)
        promoted += [
            found.p_value(-MARGIN) <= 1 - LEVEL,
            found.value + MARGIN >= 1.645 * np.sqrt(found.variance / 200),
            np.quantile(bootstrapped_f1(drawn, rng), 1 - LEVEL) >= -MARGIN,
        ]
    assert promoted[0] <= most_by_chance(200) < min(promoted[1:])


@pytest.mark.parametrize("metric", ["macro_f1", "auroc"])
def test_the_power_is_not_bought_by_refusing_all(metric: Metric) -> None:
    equal = Situation(metric, 2, False, "everywhere", 0.0)
    assert promotions(equal, 500, -MARGIN, 200, np.random.default_rng(6))[0] >= 120


@pytest.mark.parametrize("losses", ["everywhere", "rarest"])
@pytest.mark.parametrize("metric", ["macro_f1", "auroc"])
@pytest.mark.parametrize(("n_labels", "rare"), [(2, True), (4, False), (4, True)])
def test_the_border_is_where_the_draws_are(metric: Metric, n_labels: int, rare: bool, losses: Losses) -> None:
    """The simulated candidate is worse by exactly the margin: seen on one very large test set."""
    draw = draw_answers if metric == "macro_f1" else draw_scores
    found = compare(next(draw(Situation(metric, n_labels, rare, losses, -MARGIN), 200_000, np.random.default_rng(7))))
    assert found.value == pytest.approx(-MARGIN, abs=5 * np.sqrt(found.variance / found.n))
    assert np.sqrt(found.variance / found.n) < 0.003


FREQUENCIES = np.array([0.5, 0.3, 0.1, 0.1])
HITS, FALSE_ALARMS = 0.9, 0.03


def _f1_of_sets(lost: float) -> float:
    """Of a model that answers the complement of what it would have said on this share of the samples."""
    hits, alarms = (rate * (1 - lost) + (1 - rate) * lost for rate in (HITS, FALSE_ALARMS))
    true, false = FREQUENCIES * hits, (1 - FREQUENCIES) * alarms
    return float((2 * true / (FREQUENCIES + true + false)).mean())


def draw_sets(lost: float, n: int, rng: np.random.Generator) -> Iterator[Scored]:
    """Any number of labels a sample; the candidate fails on all labels of a sample at once."""
    while True:
        has = rng.random((n, 4)) < FREQUENCIES
        said = rng.random((n, 4)) < np.where(has, HITS, FALSE_ALARMS)
        own = np.where(rng.random((n, 4)) < 0.1, rng.random((n, 4)) < np.where(has, HITS, FALSE_ALARMS), said)
        given = own ^ (rng.random((n, 1)) < lost)
        yield Scored("macro_f1", ("a", "b", "c", "d"), has, given.astype(float), said.astype(float))


@pytest.mark.slow
@pytest.mark.parametrize("n", [100, 300, 1000])
def test_whole_sets_that_are_lost_at_once(n: int) -> None:
    lost = brentq(lambda share: _f1_of_sets(0) - _f1_of_sets(share) - MARGIN, 0, 0.5)
    sets = draw_sets(lost, n, np.random.default_rng(n))
    drawn = (scored for _, scored in zip(range(3000), sets, strict=False) if scored.n_with.min() >= 5)
    assert sum(compare(scored).p_value(-MARGIN) <= 1 - LEVEL for scored in drawn) <= most_by_chance(3000)
