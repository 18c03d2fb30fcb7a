"""Numbers in the guide come from the benchmarks' files, and say what the text claims."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from benchmarks.drift_tables import GUIDE, render
from benchmarks.tables import read
from monitoring.alarm_budget import INPUT_SHARE, SMALLEST_LEVEL, YEAR, allowance
from monitoring.data_quality import FALSE_ALARM_LEVEL, MIN_REQUESTS, TOLERATED_FRAC
from monitoring.power import n_requests_needed


def test_its_tables_are_the_csvs() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    assert render(text) == text


@pytest.mark.parametrize("name", ["drift_null", "drift_text_null"])
def test_false_alarms_are_at_most_their_level(name: str) -> None:
    rows = read(name)
    assert {int(row["n_window"]) for row in rows} == {50, 200, 1_000}
    for row in rows:
        assert int(row["n_windows"]) >= 1_000
        assert float(row["low"]) <= float(row["level"])


def test_every_change_of_texts_that_costs_five_points_is_found() -> None:
    costly = [row for row in read("drift_text_power") if float(row["loss_points"]) >= 5]
    assert len(costly) >= 4
    assert all(int(row["found_hourly"]) >= 0.95 * int(row["n_windows"]) for row in costly)


def test_every_change_that_costs_five_points_is_found() -> None:
    costly = [row for row in read("drift_power") if float(row["loss_points"]) >= 5]
    assert len(costly) >= 5
    assert all(int(row["found_hourly"]) >= 0.95 * int(row["n_windows"]) for row in costly)
    assert all(int(row["said_costs_nothing"]) == 0 for row in costly)


def test_the_goals_of_time_and_memory_are_met() -> None:
    rows = {row["what"]: row for row in read("drift_speed")}
    judged = [row for what, row in rows.items() if what.startswith("judge")]
    assert len(judged) == 2
    assert all(float(row["seconds"]) <= 2 for row in judged)
    long, short = rows["read 1000000 lines"], rows["read 100000 lines"]
    assert float(long["seconds"]) <= 30
    assert float(long["peak_mb"]) < 1.3 * float(short["peak_mb"])


def test_the_limits_of_data_quality_in_its_text() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    assert f"its level is {FALSE_ALARM_LEVEL:.6f} a window" in text
    assert f"fewer than {MIN_REQUESTS} requests are not checked" in text
    for name, frac in TOLERATED_FRAC.items():
        (row,) = [line for line in text.splitlines() if line.startswith(f"| `{name}` |")]
        assert row.endswith(f"| {100 * frac:.0f} % |")
    assert FALSE_ALARM_LEVEL * 60 * 24 * 365.25 < 0.53, "a window a minute: half a false alarm a year"


def test_the_numbers_in_its_text() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    first = allowance(None, datetime(2026, 1, 1, tzinfo=UTC), INPUT_SHARE).level
    assert f"half a week's worth: {first:.4f} at one false alarm a year" in text
    minutes = SMALLEST_LEVEL / INPUT_SHARE * YEAR.total_seconds() / 60
    assert f"at one false alarm a year that is every {minutes:.0f} minutes" in text
    assert f"it is {n_requests_needed(0.01, 500, 6)} at a level of 0.01 and {n_requests_needed(2e-5, 500, 6)} at 0.00002" in text
