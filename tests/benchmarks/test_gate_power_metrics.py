"""The tables on macro-F1, AUROC, calibration and slices are those of the result files, and the result files are those of the gates."""

import numpy as np
import pytest
from scipy.stats import binom

from benchmarks.gate_power import DOCS, read_table, with_tables
from benchmarks.gate_power_metrics import (
    AHEAD,
    COMMAND,
    ERRORS,
    GAP,
    LEVEL,
    MAX_ERROR,
    POWER,
    auroc_of,
    chances_with,
    confidences,
    docs_tables,
    drawn_auroc,
    drawn_f1,
    f1_of,
    passes,
    shows_no_lag,
)
from pipelines.gates.calibration import binned_errors, error_upper_bound


def test_the_docs_show_the_result_files() -> None:
    text = DOCS.read_text(encoding="utf-8")
    assert with_tables(text, docs_tables(read_table(POWER), read_table(ERRORS)), COMMAND) == text


def test_a_changed_number_is_seen() -> None:
    power = read_table(POWER)
    power[0]["promote_rate"] = str(1 - float(power[0]["promote_rate"]))
    text = DOCS.read_text(encoding="utf-8")
    assert with_tables(text, docs_tables(power, read_table(ERRORS)), COMMAND) != text


def test_no_recorded_error_rate_exceeds_its_statement_by_more_than_chance() -> None:
    for row in read_table(ERRORS):
        n_draws, stated = int(row["n_draws"]), 1 - float(row["level"])
        # The highest of many: each is allowed what one in 10,000 exceeds.
        assert round(float(row["highest_rate"]) * n_draws) <= binom.isf(1e-4, n_draws, stated), row
    for row in read_table(POWER):
        if float(row["truth"]) == float(row["threshold"]):
            assert round(float(row["promote_rate"]) * int(row["n_draws"])) <= binom.isf(1e-4, int(row["n_draws"]), 1 - LEVEL), row


def test_the_normal_bound_that_does_not_decide_errs_more_often() -> None:
    rates = [float(row["normal_bound"]) for row in read_table(ERRORS) if row["test"] == "macro_f1" and float(row["level"]) == LEVEL]
    assert max(rates) > 0.1


def recorded(test: str, n: int, truth: float) -> float:
    (rate,) = [
        float(row["promote_rate"]) for row in read_table(POWER) if (row["test"], int(row["n"]), float(row["truth"])) == (test, n, truth)
    ]
    return rate


def agree(n_passed: int, n_draws: int, rate: float) -> bool:
    """Both rates are of draws, so the bound is that of a difference."""
    spread = 5 * (max(rate * (1 - rate), 0.01) * (1 / n_draws + 1 / 2000)) ** 0.5
    return abs(n_passed / n_draws - rate) <= spread


def test_recorded_rates_can_be_made_again() -> None:
    rng, n_draws = np.random.default_rng(1), 200
    n_passed = sum(passes(drawn_f1(rng, 300, np.full(4, 0.25), 0.05), 0.1, LEVEL) for _ in range(n_draws))
    assert agree(n_passed, n_draws, recorded("macro_f1", 300, 0.95))
    given = confidences(rng, 300, "sure")
    drawn = [binned_errors(given[:, None], (rng.random(300) < given)[:, None], 5) for _ in range(n_draws)]
    assert agree(sum(error_upper_bound(bins, LEVEL) <= MAX_ERROR for bins in drawn), n_draws, recorded("calibration", 300, 0.0))


def test_a_recorded_rate_of_the_gap_is_that_of_the_sum_over_all_outcomes() -> None:
    counts = np.arange(51)
    passing = np.array([[shows_no_lag(first, second, 50) for second in range(51)] if first >= 40 else [False] * 51 for first in range(51)])
    rate = binom.pmf(counts, 50, AHEAD) @ passing @ binom.pmf(counts, 50, AHEAD)
    assert agree(round(2000 * rate), 2000, recorded("slices_gap", 50, 0.0))
    assert binom.pmf(counts, 50, AHEAD) @ passing @ binom.pmf(counts, 50, AHEAD - GAP) <= 0.05


@pytest.mark.parametrize("confusion", [0.02, 0.2])
def test_true_values_are_those_of_large_samples(confusion: float) -> None:
    rng, shares = np.random.default_rng(2), np.array([0.1, 0.3, 0.6])
    f1, auroc = drawn_f1(rng, 200_000, shares, confusion), drawn_auroc(rng, 100_000, 4, confusion)
    assert f1 is not None
    assert auroc is not None
    assert 1 - f1.value == pytest.approx(f1_of(shares, confusion), abs=0.005)
    assert 1 - auroc.value == pytest.approx(auroc_of(4, confusion), abs=0.005)


def test_chances_are_off_by_what_is_asked() -> None:
    given = confidences(np.random.default_rng(3), 1000, "sure")
    chances = chances_with(given, np.array([1.0, -1.0, -1.0, 1.0, -1.0]), 0.04)
    assert np.abs(np.bincount(np.arange(1000) // 200, chances - given)).sum() / 1000 == pytest.approx(0.04)
