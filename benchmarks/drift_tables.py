"""Puts the numbers of `results/drift_*.csv` into docs/guides/monitoring.md: `python -m benchmarks.drift_tables`. A test compares them.

Each block between `<!-- NAME -->` and `<!-- /NAME -->` is made by the function of that name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from benchmarks.machine import RESULTS
from benchmarks.tables import Row, read, rendered
from benchmarks.trigger_tables import false_alarms_in_words, year_table

GUIDE = RESULTS.parents[1] / "docs" / "guides" / "monitoring.md"


def render(text: str) -> str:
    """The guide's text with every block made anew."""
    return rendered(text, BLOCKS)


def null_table() -> str:
    rows = [[*_null_cells(row), row["seconds_per_window"]] for row in read("drift_null")]
    return _table([*_NULL_COLUMNS, "seconds a window"], rows)


def text_null_table() -> str:
    return _table(_NULL_COLUMNS, [_null_cells(row) for row in read("drift_text_null")])


_NULL_COLUMNS = ["requests", "level", "false alarms", "95 % interval"]


def _null_cells(row: Row) -> list[str]:
    return [row["n_window"], f"{100 * float(row['level']):g} %", _of(row["n_alarms"], row["n_windows"]), _percent_range(row)]


def text_power_table() -> str:
    delays = {row["change"]: _delay(row) for row in read("drift_text_delay")}
    rows = [
        [
            row["change"].replace("_", " "),
            row["loss_points"],
            _of(row["found_first_window"], row["n_windows"]),
            _of(row["found_hourly"], row["n_windows"]),
            row["expected_mean_absolute_error"],
            row["thresholded_mean_absolute_error"],
            delays.get(row["change"], ""),
        ]
        for row in sorted(read("drift_text_power"), key=lambda row: -float(row["loss_points"]))
    ]
    errors = ["error of the accuracy by mean confidence", "by share of high confidence"]
    return _table(["change", "costs", "found, first window", "found, hourly", *errors, "median delay"], rows)


def power_table() -> str:
    delays = {row["change"]: row for row in read("drift_delay")}
    rows = [
        [
            row["change"].replace("_", " "),
            row["loss_points"],
            _of(row["found_first_window"], row["n_windows"]),
            _of(row["found_hourly"], row["n_windows"]),
            f"{row['said_costs']} / {row['said_unknown']} / {row['said_costs_nothing']}",
            _delay(delays[row["change"]]),
        ]
        for row in sorted(read("drift_power"), key=lambda row: -float(row["loss_points"]))
    ]
    return _table(["change", "costs", "found, first window", "found, hourly", "said: costs / unknown / nothing", "median delay"], rows)


def accuracy_table() -> str:
    rows = [
        [row["change"].replace("_", " "), row["accuracy"], row["expected_mean_absolute_error"], row["thresholded_mean_absolute_error"]]
        for row in sorted(read("drift_accuracy"), key=lambda row: float(row["accuracy"]))
    ]
    return _table(["change", "true accuracy", "by mean confidence", "by share of high confidence"], rows)


def bursts_table() -> str:
    rows = [
        [
            row["traffic"],
            f"{float(row['median_burst_length']):g}",
            "corrected" if row["corrected"] == "True" else "as it comes",
            _of(row["n_alarms"], row["n_windows"]),
            _percent_range(row),
        ]
        for row in read("drift_bursts")
    ]
    return _table(["traffic", "burst length found", "", "false alarms", "95 % interval"], rows)


def peers_table(name: str) -> str:
    rows = [
        [row["detector"].replace("_", " "), _of(row["false_alarms"], row["n_null"]), _of(row["found"], row["n_costly"])]
        for row in read(name)
    ]
    return _table(["detector", "false alarms", "found, of changes that cost 5 points or more"], rows)


def speed_table() -> str:
    rows = [[row["what"], row["verdict"], row["seconds"], row["peak_mb"]] for row in read("drift_speed")]
    return _table(["", "result", "seconds", "peak memory of the process, MB"], rows)


def _delay(row: Row) -> str:
    missed = f", {row['n_not_found']} of {row['n_streams']} never" if int(row["n_not_found"]) else ""
    return f"{float(row['median_delay']):g}{missed}" if int(row["n_not_found"]) * 2 <= int(row["n_streams"]) else f"not found{missed}"


def _of(part: str, whole: str) -> str:
    return f"{part} of {whole}"


def _percent_range(row: Row) -> str:
    return f"{100 * float(row['low']):.1f} to {100 * float(row['high']):.1f} %"


def _table(columns: list[str], rows: Iterable[list[str]]) -> str:
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


BLOCKS: dict[str, Callable[[], str]] = {
    "drift_null": null_table,
    "drift_power": power_table,
    "drift_accuracy": accuracy_table,
    "drift_text_null": text_null_table,
    "drift_text_power": text_power_table,
    "drift_bursts": bursts_table,
    "drift_peers": lambda: peers_table("drift_peers"),
    "drift_text_peers": lambda: peers_table("drift_text_peers"),
    "drift_speed": speed_table,
    "trigger_year": lambda: year_table(read("trigger_year")),
    "trigger_year_false": lambda: false_alarms_in_words(read("trigger_year")),
}


if __name__ == "__main__":
    GUIDE.write_text(render(GUIDE.read_text(encoding="utf-8")), encoding="utf-8")
