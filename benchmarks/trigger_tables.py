"""What docs/guides/monitoring.md says of simulated years; `python -m benchmarks.drift_tables` puts it there."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping

from pipelines.intervals import clopper_pearson

Row = Mapping[str, str]


def year_table(rows: Iterable[Row]) -> str:
    """One line for each scenario: sums over its years, and medians."""
    by_scenario: dict[str, list[Row]] = {}
    for row in rows:
        by_scenario.setdefault(row["scenario"], []).append(row)
    columns = (
        "year",
        "simulated",
        "windows called drift, median",
        "started a year",
        "useful / too early / unneeded",
        "shifts missed",
        "days to the first useful one",
        "data-quality alarms",
    )
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(_cells(name, years))} |" for name, years in by_scenario.items())])


def false_alarms_in_words(rows: Iterable[Row]) -> str:
    """The years without a shift, in a sentence."""
    years = [row for row in rows if row["scenario"] == "no shift"]
    n_windows, n_false = _total(years, "n_windows"), _total(years, "false_alarms")
    n_hit = sum(int(row["false_alarms"]) > 0 for row in years)
    share = clopper_pearson(n_hit, len(years))
    allowed = sum(float(row["alarms_allowed"]) for row in years) / len(years)
    return (
        f"Without a shift {n_false} of {n_windows:,} windows were called drift in {len(years)} years: {n_false / len(years):.2f} a year,"
        f" where {allowed:.2f} are allowed. They were in {n_hit} of the years (95 % interval {100 * share.low:.0f} to"
        f" {100 * share.high:.0f} %): a reference that is unlucky alarms again. {_total(years, 'retrainings')} of them started a"
        " retraining."
    )


def _cells(name: str, years: list[Row]) -> list[str]:
    counts = " / ".join(str(_total(years, kind)) for kind in ("useful", "too_early", "unneeded"))
    days = [int(row["hours_to_useful"]) / 24 for row in years if row["hours_to_useful"]]
    n_shifts, n_broken = _total(years, "shifts"), _total(years, "hours_of_broken_camera")
    n_alarms = _total(years, "data_quality_alarms")
    return [
        name,
        str(len(years)),
        f"{statistics.median(int(row['alarms']) for row in years):g}",
        f"{_total(years, 'retrainings') / len(years):.1f}",
        counts,
        f"{_total(years, 'missed')} of {n_shifts}" if n_shifts else "",
        f"{statistics.median(days):.1f}" if days else "",
        f"{n_alarms} in {n_broken} broken hours" if n_broken else str(n_alarms),
    ]


def _total(years: list[Row], name: str) -> int:
    return sum(int(row[name]) for row in years)
