"""Several gates at once: a candidate that violates exactly one null hypothesis is promoted at most at that test's error rate.

The worst case for a promotion is drawn: one condition exactly on its border, and all others sure to hold.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom

from pipelines.answers import TestAnswers
from pipelines.config import BeatsChampionGate, CalibrationGate, Gate, MinMetricGate
from pipelines.gates.beats_champion import Champion
from pipelines.gates.judge import judge

N = 400
FLOOR = MinMetricGate(kind="min_metric", floor=0.8)
BEATS = BeatsChampionGate(kind="beats_champion", without_champion="refuse", margin=0.05)
CALIBRATED = CalibrationGate(kind="calibration", max_error=0.3)
GATES: tuple[Gate, ...] = (FLOOR, BEATS, CALIBRATED)


@dataclass(frozen=True)
class Rates:
    """What only the candidate, only the champion or both get right in each quarter: domains a, a, b, b; scanners x, y, x, y."""

    won: tuple[float, float, float, float]
    lost: tuple[float, float, float, float]
    both: tuple[float, float, float, float]

    def draw(self, rng: np.random.Generator) -> tuple[TestAnswers, TestAnswers]:
        quarter = np.repeat(np.arange(4), N // 4)
        won, lost, both = (np.array(rates)[quarter] for rates in (self.won, self.lost, self.both))
        place = rng.random(N)
        candidate = (place < won) | ((place >= won + lost) & (place < won + lost + both))
        champion = (place >= won) & (place < won + lost + both)
        return _answers(candidate), _answers(champion)


def _answers(correct: np.ndarray) -> TestAnswers:
    n, quarter = len(correct), np.repeat(np.arange(4), N // 4)
    plain = TestAnswers(
        ids=np.array([f"id{row:04}" for row in range(n)]),
        domains=np.array(["a", "a", "b", "b"])[quarter],
        labels=np.full(n, "cat"),
        predicted=np.where(correct, "cat", "dog"),
        confidences=np.full(n, 0.85),
    )
    return replace(plain, slices={"scanner": np.array(["x", "y", "x", "y"])[quarter]})


ON_THE_FLOOR = Rates(won=(0.4,) * 4, lost=(0.0,) * 4, both=(0.4,) * 4)
DOMAIN_WORSE = Rates(won=(0.025, 0.025, 0.4, 0.4), lost=(0.075, 0.075, 0.0, 0.0), both=(0.875, 0.875, 0.55, 0.55))
SLICE_WORSE = Rates(won=(0.025, 0.4, 0.025, 0.4), lost=(0.075, 0.0, 0.075, 0.0), both=(0.875, 0.55, 0.875, 0.55))


def n_promoted(gates: Sequence[Gate], rates: Rates, n_draws: int, tmp_path: Path) -> int:
    rng, count = np.random.default_rng(11), 0
    for _ in range(n_draws):
        candidate, champion = rates.draw(rng)
        count += judge(gates, candidate=candidate, bundle=tmp_path, champion=Champion(champion, ("cat", "dog"))).promote
    return count


VIOLATIONS = pytest.mark.parametrize(
    ("rates", "of_it"),
    [(ON_THE_FLOOR, FLOOR), (DOMAIN_WORSE, BEATS), (SLICE_WORSE, BEATS)],
    ids=["the floor", "one domain", "one slice"],
)


@VIOLATIONS
def test_one_violation_among_several_gates(rates: Rates, of_it: Gate, tmp_path: Path) -> None:
    assert n_promoted(GATES, rates, 15, tmp_path) <= binom.isf(1e-5, 15, 0.05)


@pytest.mark.slow
@VIOLATIONS
def test_one_violation_among_several_gates_in_1000_draws(rates: Rates, of_it: Gate, tmp_path: Path) -> None:
    together = n_promoted(GATES, rates, 1_000, tmp_path)
    assert together <= binom.isf(1e-5, 1_000, 0.05)
    # It is the worst case: the other gates are no obstacle, so more conditions change next to nothing.
    assert together >= 0.5 * n_promoted([of_it], rates, 1_000, tmp_path)
    assert together >= binom.ppf(1e-5, 1_000, 0.02)


@pytest.mark.slow
def test_violating_all_of_them_is_hardly_ever_promoted(tmp_path: Path) -> None:
    everything = Rates(won=(0.025,) * 4, lost=(0.075,) * 4, both=(0.775,) * 4)
    assert n_promoted(GATES, everything, 300, tmp_path) <= binom.isf(1e-5, 300, 0.01)
