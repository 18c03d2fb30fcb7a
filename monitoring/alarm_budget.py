"""How many false alarms a year become the level of one window's tests.

Letters: r false alarms a year. By linearity the expected number of false alarms is at most the sum of the levels, however the windows
overlap or depend on each other, as long as no level looks at the data (alpha spending, Lan and DeMets 1983,
https://doi.org/10.1093/biomet/70.3.659). So levels are paid from a balance that grows with time and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import BaseModel, ConfigDict, Field

YEAR = timedelta(days=365.25)
# The balance of the first window, and the most that a pause can save up: a week's worth, and two of the largest levels.
RESERVE = timedelta(days=7)
LARGEST_LEVEL = 0.05
# A million permutations cannot show a smaller level: what is left below is saved for a later window (`signals.permutation`).
SMALLEST_LEVEL = 2e-5
_SPENT_FRAC = 0.5
# Of the false alarms a year: for changed inputs, and for a risen error rate (`monitoring.error_rate`).
INPUT_SHARE, ERROR_RATE_SHARE = 0.75, 0.25


class Spending(BaseModel):
    """What one judged window was allowed.

    Attributes:
        judged_at: Aware.
        bundle, window_id: Of the window.
        level: Chance of an alarm on unchanged traffic that its tests were allowed.
        balance: What was left afterwards, in expected false alarms.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    judged_at: datetime
    bundle: str
    window_id: str
    level: float = Field(gt=0, le=LARGEST_LEVEL)
    balance: float = Field(ge=0)


@dataclass(frozen=True)
class Allowance:
    """What a window may be tested at now.

    Attributes:
        level: 0 where nothing is left.
        balance: After paying it.
        due_at: Where nothing is left: when there will be enough.
    """

    level: float
    balance: float
    due_at: datetime | None = None


def allowance(last: Spending | None, now: datetime, false_alarms_per_year: float) -> Allowance:
    """Half of the balance, so that windows minutes apart still get a level each, and windows at a steady pace what grew in between.

    The balance starts at one week's worth and never holds more, and grows by r less that week's worth a year. So over any stretch of a
    year, the first as well, the levels sum to at most r.

    Args:
        last: Of the window judged before; None for the first.
        now: When this one is judged; aware.
        false_alarms_per_year: r, above 0; those of changed inputs alone.

    Returns:
        A level between 0.00002 and 0.05, or 0 and the time at which the balance allows a judgement.
    """
    reserve = min(false_alarms_per_year * (RESERVE / YEAR), LARGEST_LEVEL / _SPENT_FRAC)
    growth_per_second = (false_alarms_per_year - reserve) / YEAR.total_seconds()
    balance = reserve
    if last is not None:
        seconds = max(0.0, (now - last.judged_at).total_seconds())
        balance = min(reserve, last.balance + growth_per_second * seconds)
    if balance < SMALLEST_LEVEL:
        missing_seconds = (SMALLEST_LEVEL - balance) / growth_per_second
        return Allowance(0.0, balance, now + timedelta(seconds=missing_seconds))
    level = min(LARGEST_LEVEL, max(SMALLEST_LEVEL, _SPENT_FRAC * balance))
    return Allowance(level, balance - level)
