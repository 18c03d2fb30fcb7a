"""What the level and the power of the whole verdict are, counted."""

from __future__ import annotations

import pytest
from scipy import stats

from benchmarks.digits_traffic import Change, DigitsTraffic, inverted, noisy, shifted_right
from monitoring.alarm_budget import Allowance
from monitoring.decision import judge_window
from monitoring.reference import Reference
from monitoring.window import Window
from pipelines.config import MonitorSection

# Coarse enough to be counted: at 1 % a thousand windows hold ten alarms.
COUNTED = 0.05
USUAL = 0.01


def judge(window: Window, reference: Reference, level: float) -> str:
    return judge_window(window, reference, MonitorSection(), Allowance(level, 0.0)).verdict


def count_drift(digits: DigitsTraffic, n_draws: int, n_window: int, level: float = COUNTED, change: Change | None = None) -> int:
    draws = (digits.draw(seed, n_window, change=change) for seed in range(n_draws))
    verdicts = (judge(window, reference, level) for window, reference in draws)
    return sum(verdict == "drift" for verdict in verdicts)


def test_false_alarms_are_not_far_above_their_rate(digits: DigitsTraffic) -> None:
    n_alarms = count_drift(digits, 25, 100)
    assert stats.binomtest(n_alarms, 25, COUNTED, alternative="greater").pvalue > 1e-3


@pytest.mark.parametrize("change", [inverted, noisy, shifted_right])
def test_power(digits: DigitsTraffic, change: Change) -> None:
    assert count_drift(digits, 3, 200, change=change) == 3


@pytest.mark.slow
@pytest.mark.parametrize("n_window", [100, 200])
def test_false_alarm_rate_over_a_thousand_windows(digits: DigitsTraffic, n_window: int) -> None:
    n_alarms = count_drift(digits, 1_000, n_window)
    assert stats.binomtest(n_alarms, 1_000, COUNTED, alternative="greater").pvalue > 1e-3
    # An alarm that never rings would pass the line above.
    assert n_alarms > 10


@pytest.mark.slow
@pytest.mark.parametrize("change", [inverted, noisy])
def test_power_at_the_default_rate(digits: DigitsTraffic, change: Change) -> None:
    n_found = count_drift(digits, 100, 200, USUAL, change)
    assert stats.binomtest(n_found, 100).proportion_ci(0.95, method="exact").low > 0.95 or n_found >= 99


@pytest.mark.slow
def test_degraded_is_called_seldom_and_found_when_it_is_there(digits: DigitsTraffic) -> None:
    n_false = sum(judge(*digits.draw(seed, 100), COUNTED) == "degraded" for seed in range(300))
    assert n_false <= 4  # of a week's worth of a quarter of a false alarm a year: 0.005 of each
    found = [judge(*digits.draw(seed, 200, label_noise_frac=0.3), USUAL) for seed in range(50)]
    assert found.count("degraded") + found.count("drift") >= 49
