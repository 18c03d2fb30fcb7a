from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitoring.alarm_budget import LARGEST_LEVEL, SMALLEST_LEVEL, YEAR, Spending, allowance
from monitoring.signals.permutation import MAX_PERMUTATIONS
from monitoring.signals.run import N_EMBEDDING_SIGNALS, N_FAMILIES

START = datetime(2026, 1, 1, tzinfo=UTC)


def levels(seconds: list[float], per_year: float) -> list[tuple[datetime, float]]:
    """Levels of windows that are looked at with these pauses; 0 where one is not judged."""
    now, last, found = START, None, []
    for pause in seconds:
        now += timedelta(seconds=pause)
        allowed = allowance(last, now, per_year)
        found.append((now, allowed.level))
        if allowed.due_at is None:
            last = Spending(judged_at=now, bundle="b", window_id="w", level=allowed.level, balance=allowed.balance)
    return found


@settings(max_examples=60)
@given(
    st.lists(st.floats(0, 40 * 86_400), min_size=1, max_size=120),
    st.sampled_from([0.01, 0.5, 1.0, 12.0, 365.0]),
)
def test_levels_of_any_year_sum_to_at_most_what_was_set(pauses: list[float], per_year: float) -> None:
    found = levels(pauses, per_year)
    for first, _ in found:
        total = sum(level for now, level in found if first <= now < first + YEAR)
        assert total <= per_year * (1 + 1e-9)
    assert all(level == 0 or SMALLEST_LEVEL <= level <= LARGEST_LEVEL for _, level in found)


@pytest.mark.parametrize(("pause_seconds", "per_year"), [(900, 1.0), (3_600, 1.0), (86_400, 1.0), (60, 12.0), (2 * 86_400, 4.0)])
def test_a_steady_pace_spends_nearly_all_of_it(pause_seconds: float, per_year: float) -> None:
    n_looks = min(20_000, int(2 * YEAR.total_seconds() / pause_seconds))
    spent = sum(level for _, level in levels([pause_seconds] * n_looks, per_year))
    grown = (per_year - per_year * 7 / 365.25) * n_looks * pause_seconds / YEAR.total_seconds()
    assert 0.95 * grown <= spent <= grown + per_year * 7 / 365.25


def test_two_windows_a_minute_apart_both_get_a_level() -> None:
    (_, first), (_, second) = levels([0, 60], 1.0)
    assert first == pytest.approx(7 / 365.25 / 2)
    assert second == pytest.approx(first / 2, rel=1e-3)


def test_a_long_pause_saves_a_week_at_most() -> None:
    (_, first), (_, later) = levels([0, 300 * 86_400], 1.0)
    assert later == first


def test_looking_every_second_waits_and_says_until_when() -> None:
    found = levels([1.0] * 200, 1.0)
    assert found[-1][1] == 0
    last = Spending(judged_at=START, bundle="b", window_id="w", level=0.01, balance=0.0)
    allowed = allowance(last, START + timedelta(seconds=1), 1.0)
    assert allowed.level == 0
    assert allowed.due_at is not None
    again = allowance(last, allowed.due_at + timedelta(milliseconds=1), 1.0)
    assert again.level == pytest.approx(SMALLEST_LEVEL)
    assert again.due_at is None


def test_a_clock_that_goes_back_gives_nothing() -> None:
    last = Spending(judged_at=START, bundle="b", window_id="w", level=0.01, balance=0.001)
    assert allowance(last, START - timedelta(days=30), 1.0).level == pytest.approx(0.0005)


def test_the_smallest_level_can_still_alarm() -> None:
    """The strictest permutation test must be able to get below its threshold, or it could never alarm."""
    assert 1 / (MAX_PERMUTATIONS + 1) < SMALLEST_LEVEL / N_FAMILIES / N_EMBEDDING_SIGNALS


@pytest.mark.parametrize("per_year", [0.01, 365.0])
def test_the_ends_of_the_setting_work(per_year: float) -> None:
    assert SMALLEST_LEVEL <= levels([0], per_year)[0][1] <= LARGEST_LEVEL
