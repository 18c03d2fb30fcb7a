"""The gates' error rates, by drawing test sets: what is stated is what happens.

A bound on a simulated rate allows for the draws' own noise: it fails by chance in fewer than 1 of 100,000 runs, and the seeds are fixed.
"""

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from scipy.stats import binom

from pipelines.config import BeatsChampionGate, MinMetricGate
from pipelines.gates.beats_champion import Champion, beats_champion
from pipelines.gates.min_metric import min_metric
from pipelines.intervals import mcnemar_p_value
from pipelines.paired_exact import difference_p_value

Passes = Callable[[int, int, int], bool]


def rule(**changes: object) -> BeatsChampionGate:
    return BeatsChampionGate.model_validate({"kind": "beats_champion", "without_champion": "refuse", **changes})


def draws(rng: np.random.Generator, n: int, discordance: float, difference: float, n_draws: int) -> np.ndarray:
    """Wins and losses [n_draws, 2] of a candidate whose true accuracy differs by `difference`."""
    win_rate = (discordance + difference) / 2
    return rng.multinomial(n, [max(win_rate, 0.0), discordance - max(win_rate, 0.0), 1 - discordance], n_draws)[:, :2]


def n_passes(outcomes: np.ndarray, n: int, passes: Passes) -> int:
    """How many draws pass; each distinct outcome is decided once."""
    distinct, counts = np.unique(outcomes, axis=0, return_counts=True)
    return int(sum(count for (wins, losses), count in zip(distinct.tolist(), counts, strict=True) if passes(wins, losses, n)))


def most_by_chance(n_draws: int, rate: float) -> int:
    return int(binom.isf(1e-5, n_draws, rate))


def fewest_by_chance(n_draws: int, rate: float) -> int:
    return int(binom.ppf(1e-5, n_draws, rate))


def by_p_value(margin: float, level: float) -> Passes:
    """The rule by which the gate decides; `test_the_gate_decides_by_this_rule` shows that it is."""
    return lambda wins, losses, n: difference_p_value(wins, losses, n, -margin) <= 1 - level


@pytest.fixture(scope="session")
def gate(answers, outcome) -> Callable[[BeatsChampionGate], Passes]:
    """The gate itself, on answers with the given wins and losses."""

    def of(gate_rule: BeatsChampionGate) -> Passes:
        @cache
        def passes(wins: int, losses: int, n: int) -> bool:
            candidate, champion = outcome(wins, losses, n)
            decisions = beats_champion(gate_rule, answers(candidate), Champion(answers(champion), ("cat",)))
            return all(decision.outcome == "pass" for decision in decisions)

        return passes

    return of


@pytest.mark.parametrize("n", [100, 300, 1000])
def test_the_gate_decides_by_this_rule(gate, n: int) -> None:
    rng = np.random.default_rng(n)
    for difference in (-0.03, 0.0):
        for wins, losses in draws(rng, n, 0.08, difference, 4).tolist():
            assert gate(rule())(wins, losses, n) == by_p_value(0.03, 0.95)(wins, losses, n)


# A candidate cannot be worse by more than the share of samples on which the two differ.
BORDER = [(0.02, 0.02), (0.02, 0.05), (0.03, 0.05), (0.03, 0.1), (0.03, 0.2)]


@pytest.mark.parametrize(("margin", "discordance"), BORDER)
@pytest.mark.parametrize(("n", "n_draws"), [(100, 1000), (300, 500), (1000, 200)])
def test_wrong_promotions_stay_within_the_stated_rate(n: int, n_draws: int, margin: float, discordance: float) -> None:
    outcomes = draws(np.random.default_rng(1), n, discordance, -margin, n_draws)
    assert n_passes(outcomes, n, by_p_value(margin, 0.95)) <= most_by_chance(n_draws, 0.05)


@pytest.mark.slow
@pytest.mark.parametrize("level", [0.9, 0.95])
@pytest.mark.parametrize(("margin", "discordance"), BORDER)
@pytest.mark.parametrize("n", [100, 300, 1000])
def test_wrong_promotions_in_20000_draws(n: int, margin: float, discordance: float, level: float) -> None:
    outcomes = draws(np.random.default_rng(2), n, discordance, -margin, 20_000)
    n_promoted = n_passes(outcomes, n, by_p_value(margin, level))
    assert n_promoted <= most_by_chance(20_000, 1 - level)
    if n * discordance >= 15:  # below, few outcomes are possible, and the next one would exceed the rate
        assert n_promoted >= fewest_by_chance(20_000, 0.7 * (1 - level))


@pytest.mark.slow
@pytest.mark.parametrize(("n", "discordance"), [(100, 0.05), (300, 0.1), (1000, 0.05)])
def test_wrong_promotions_by_the_gate_itself_in_20000_draws(gate, n: int, discordance: float) -> None:
    outcomes = draws(np.random.default_rng(3), n, discordance, -0.03, 20_000)
    assert n_passes(outcomes, n, gate(rule())) <= most_by_chance(20_000, 0.05)


def test_a_candidate_as_good_as_the_champion_is_promoted_as_often_as_the_table_says() -> None:
    # docs/gates.md: 300 samples, 5 % discordance, margin 5 points: 97 %.
    outcomes = draws(np.random.default_rng(4), 300, 0.05, 0.0, 500)
    assert n_passes(outcomes, 300, by_p_value(0.05, 0.95)) >= fewest_by_chance(500, 0.96)


@pytest.mark.parametrize("n", [100, 300, 1000])
@pytest.mark.parametrize("discordance", [0.02, 0.05, 0.1, 0.2])
def test_superiority_is_claimed_by_chance_within_the_stated_rate(n: int, discordance: float) -> None:
    outcomes = draws(np.random.default_rng(5), n, discordance, 0.0, 20_000)
    for level in (0.9, 0.95, 0.99):
        claimed = n_passes(outcomes, n, lambda wins, losses, n, level=level: mcnemar_p_value(wins, losses) <= 1 - level)
        assert claimed <= most_by_chance(20_000, 1 - level)


@pytest.mark.parametrize("n", [100, 300, 1000])
def test_the_floor_is_cleared_by_chance_within_the_stated_rate(answers, n: int) -> None:
    gate_rule = MinMetricGate(kind="min_metric", floor=0.9)
    hits, counts = np.unique(np.random.default_rng(6).binomial(n, 0.9, 20_000), return_counts=True)
    passed = [min_metric(gate_rule, answers(np.arange(n) < hit)).outcome == "pass" for hit in hits]
    assert counts[passed].sum() <= most_by_chance(20_000, 0.05)


class Domains:
    """Test sets of several domains, and how often all conditions on them hold."""

    def __init__(self, **domains: tuple[int, float, float]) -> None:
        self.domains = domains  # n, discordance, difference

    def draw(self, rng: np.random.Generator, n_draws: int) -> dict[str, np.ndarray]:
        return {name: draws(rng, n, discordance, difference, n_draws) for name, (n, discordance, difference) in self.domains.items()}

    def passes_by_rule(self, counts: dict[str, np.ndarray], row: int) -> bool:
        sizes = {name: domain[0] for name, domain in self.domains.items()}
        total = sum(counts[name][row] for name in sizes)
        every = [(*counts[name][row].tolist(), sizes[name]) for name in sizes] + [(*total.tolist(), sum(sizes.values()))]
        return all(by_p_value(0.03, 0.95)(*case) for case in every)

    def passes_by_gate(self, counts: dict[str, np.ndarray], row: int, answers, outcome) -> bool:
        parts = [outcome(*counts[name][row].tolist(), self.domains[name][0]) for name in self.domains]
        names = np.repeat(list(self.domains), [domain[0] for domain in self.domains.values()])
        candidate, champion = (answers(np.concatenate([part[side] for part in parts]), names) for side in (0, 1))
        return all(decision.outcome == "pass" for decision in beats_champion(rule(), candidate, Champion(champion, ("cat",))))


# The worst case of several conditions: one of them on the border, and all others sure to hold.
WORST = Domains(bad=(300, 0.1, -0.03), good=(400, 0.2, 0.12), fine=(400, 0.2, 0.12))
ALL_BAD = Domains(one=(300, 0.1, -0.03), two=(300, 0.1, -0.03), three=(300, 0.1, -0.03))


def test_several_domains_do_not_raise_the_rate_of_wrong_promotions(answers, outcome) -> None:
    counts = WORST.draw(np.random.default_rng(7), 300)
    decided = [WORST.passes_by_rule(counts, row) for row in range(300)]
    assert sum(decided) <= most_by_chance(300, 0.05)
    assert sum(decided) >= fewest_by_chance(300, 0.04)  # the other domains are no obstacle: this is the worst case
    for row in range(4):
        assert WORST.passes_by_gate(counts, row, answers, outcome) == decided[row]


def test_every_domain_on_the_border_is_hardly_ever_promoted() -> None:
    counts = ALL_BAD.draw(np.random.default_rng(8), 200)
    assert sum(ALL_BAD.passes_by_rule(counts, row) for row in range(200)) <= most_by_chance(200, 0.005)


@pytest.mark.slow
def test_several_domains_in_20000_draws(answers, outcome) -> None:
    counts = WORST.draw(np.random.default_rng(9), 20_000)
    decided = [WORST.passes_by_rule(counts, row) for row in range(20_000)]
    assert fewest_by_chance(20_000, 0.04) <= sum(decided) <= most_by_chance(20_000, 0.05)
    for row in range(100):
        assert WORST.passes_by_gate(counts, row, answers, outcome) == decided[row]


@pytest.mark.parametrize("n_small", [1, 5])
def test_an_acceptable_candidate_is_seldom_stopped_by_its_small_domains(answers, n_small: int) -> None:
    """Worse by the whole margin on each of them: together they stop it in at most 1 - level of the runs."""
    rng = np.random.default_rng(10)
    stopped = 0
    for losses in draws(rng, 60, 0.06, -0.03, 400 * n_small).reshape(400, n_small, 2).tolist():
        stopped += any(difference_p_value(lost, won, 60, 0.03) <= 0.05 / n_small for won, lost in losses)
    assert stopped <= most_by_chance(400, 0.05)
