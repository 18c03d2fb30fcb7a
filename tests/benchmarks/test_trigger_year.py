"""A short form of the simulated years: each thing that can happen in a year happens in a few weeks."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest, ks_2samp

from benchmarks.machine import RESULTS
from benchmarks.trigger_year import (
    N_REFERENCE,
    N_WINDOW,
    Champion,
    Digits,
    Scenario,
    _numbers,
    _rows,
    draw_places,
    is_drifted,
    scenarios,
    simulate,
)

N_HOURS = 700


@pytest.fixture(scope="module")
def digits() -> Digits:
    return Digits()


def named(name: str) -> Scenario:
    return next(scenario for scenario in scenarios(N_HOURS) if scenario.name == name)


@pytest.mark.slow
def test_a_quiet_stretch_starts_nothing(digits: Digits) -> None:
    years = [simulate(digits, named("no shift"), seed, N_HOURS) for seed in range(4)]
    assert sum(year.retrainings for year in years) == 0
    assert sum(year.data_quality_alarms for year in years) == 0
    assert all(year.n_windows == N_HOURS for year in years)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sudden", "labels two weeks late"])
def test_a_shift_that_stays_is_learned(digits: Digits, name: str) -> None:
    year = simulate(digits, named(name), 0, N_HOURS)
    assert (year.missed, year.useful >= 1) == (0, True)


@pytest.mark.slow
def test_a_broken_camera_raises_an_alarm_every_hour_and_no_retraining(digits: Digits) -> None:
    year = simulate(digits, named("broken camera for three days"), 0, N_HOURS)
    assert (year.hours_of_broken_camera, year.data_quality_alarms, year.started_while_broken) == (72, 72, 0)


@pytest.mark.slow
def test_a_training_that_fails_is_tried_rarely_and_learns_when_it_is_mended(digits: Digits) -> None:
    """The shift begins at hour 159; for ten days every training fails. Of 240 hourly windows few start one."""
    mended = 400
    broken = replace(named("sudden"), is_training_broken=lambda hour: hour < mended)
    year = simulate(digits, broken, 0, N_HOURS)
    assert 3 <= year.failed <= 4 + (mended - 159) // 24
    assert (year.missed, year.useful >= 1) == (0, True)
    assert mended - 159 <= year.hours_to_useful[0] <= mended - 159 + 24 + 168 // 7, "a day after it was mended at most, within the budget"


@pytest.mark.slow
def test_no_more_than_the_budget_of_a_week(digits: Digits) -> None:
    year = simulate(digits, named("sudden, two a week"), 0, N_HOURS)
    assert year.retrainings <= 2 * (1 + N_HOURS // 168)


@pytest.mark.slow
def test_the_simulators_tests_keep_their_level(digits: Digits) -> None:
    """Fresh references: at 5 % over all three families the rate is at most that."""
    n_draws, rng = 1_000, np.random.default_rng(0)
    model = digits.models["old"]
    n_alarms = sum(is_drifted(Champion.drawn(model, 0.0, rng), draw_places(model, N_WINDOW, 0.0, rng), 0.05) for _ in range(n_draws))
    assert binomtest(n_alarms, n_draws, 0.05, alternative="greater").pvalue > 0.001
    assert n_alarms > 5


@pytest.mark.slow
def test_its_distances_are_scipys(digits: Digits) -> None:
    from benchmarks.trigger_year import _distribution

    rng, model = np.random.default_rng(1), digits.models["old"]
    first, second = draw_places(model, N_REFERENCE, 0.2, rng), draw_places(model, N_WINDOW, 0.9, rng)
    ours = np.abs(_distribution(model, first) - _distribution(model, second)).max(axis=1)
    columns = zip(_numbers(_rows(model, first)).T, _numbers(_rows(model, second)).T, strict=True)
    assert ours == pytest.approx([ks_2samp(one, other, method="asymp").statistic for one, other in columns])


def test_the_results_say_what_is_claimed() -> None:
    with (RESULTS / "trigger_year.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["scenario"] for row in rows} == {scenario.name for scenario in scenarios()}
    for row in rows:
        assert int(row["n_windows"]) == 8_760
        assert int(row["started_while_broken"]) == 0
        assert row["hours_of_broken_camera"] == row["data_quality_alarms"], "an alarm in every broken hour and in no other"
    quiet = [row for row in rows if row["scenario"] in ("no shift", "broken camera for three days")]
    assert sum(int(row["retrainings"]) for row in quiet) <= len(quiet)
