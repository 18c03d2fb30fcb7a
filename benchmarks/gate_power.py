"""How often the gates promote: their error rates and their power, measured.

Run: `python -m benchmarks.gate_power` (1 to 2 minutes on one core). Writes results/gate_power.csv and results/gate_error_rates.csv, beside
them a .json with the versions and the settings, and the tables of docs/gates.md from the two files (`--docs` writes the tables alone).

    gate_power.csv         for each test, n, threshold, discordance and true value the rate of promotions in n_draws draws, with its 95 %
                           Clopper-Pearson interval, and the same rate by summing the probabilities of all outcomes (`exact_rate`)
    gate_error_rates.csv   for each n and margin the highest rate, over all discordance rates up to 40 %, at which a candidate that is
                           worse by exactly the margin is promoted: by the exact test that decides, and by Tango's asymptotic bound

Discordance is the share of test samples that exactly one of the two models gets right.
"""

from __future__ import annotations

import csv
import json
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom, norm

from pipelines.intervals import clopper_pearson, mcnemar_p_value, one_sided_bounds, tango_score
from pipelines.paired_exact import difference_p_value, smallest_n_for_a_tie

ROOT = Path(__file__).resolve().parents[1]
POWER = ROOT / "benchmarks" / "results" / "gate_power.csv"
ERROR_RATES = ROOT / "benchmarks" / "results" / "gate_error_rates.csv"
DOCS = ROOT / "docs" / "gates.md"
COMMAND = "python -m benchmarks.gate_power"
LEVEL = 0.95
N_DRAWS = 20_000
SEED = 20_260
SIZES = (100, 200, 300, 500, 1000, 2000, 5000)
MARGINS = (0.01, 0.02, 0.03, 0.05)
DISCORDANCES = (0.02, 0.05, 0.1, 0.2)
GAINS = (0.0, 0.02, 0.05, 0.1)
FLOOR = 0.9
ACCURACIES = (0.9, 0.92, 0.95, 0.97)
ERROR_SIZES = (30, 50, 100, 200, 300, 500, 1000)
# Outcomes beyond these quantiles of the discordant counts are left out of the sums.
NEGLECTED = 1e-10

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class PowerRow:
    """Promotions of one test in one situation; `truth` is a difference, or an accuracy for `min_metric`."""

    test: str
    n: int
    threshold: float
    level: float
    discordance: float | None
    truth: float
    promote_rate: float
    low: float
    high: float
    n_draws: int
    exact_rate: float


@dataclass(frozen=True)
class ErrorRateRow:
    """The highest rate of wrong promotions, and the discordance rate where it is found."""

    n: int
    margin: float
    level: float
    smallest_n_for_a_tie: int
    exact_test: float
    exact_test_discordance: float
    asymptotic_bound: float
    asymptotic_bound_discordance: float


@cache
def fewest_wins(passes: Callable[[int, int], bool], n_highest: int) -> Integers:
    """For 0 to `n_highest` discordant samples the fewest wins that pass, one more than there are where none do.

    From one number to the next the answer moves by little, so the search begins at the last one.
    """
    answers: list[int] = []
    wins = 0
    for n_discordant in range(n_highest + 1):
        wins = min(wins, n_discordant)
        while wins <= n_discordant and not passes(wins, n_discordant - wins):
            wins += 1
        while wins > 0 and wins - 1 <= n_discordant and passes(wins - 1, n_discordant - wins + 1):
            wins -= 1
        answers.append(wins)
    return np.array(answers)


@cache
def non_inferior_rule(n: int, margin: float) -> Callable[[int, int], bool]:
    return lambda wins, losses: difference_p_value(wins, losses, n, -margin) <= 1 - LEVEL


@cache
def asymptotic_rule(n: int, margin: float) -> Callable[[int, int], bool]:
    critical = norm.ppf(LEVEL)
    return lambda wins, losses: bool(tango_score(wins, losses, n, -margin) >= critical)


def superior_rule(wins: int, losses: int) -> bool:
    return mcnemar_p_value(wins, losses) <= 1 - LEVEL


def exact_rate(fewest: Integers, n: int, discordance: float, difference: float) -> float:
    """Probability that the wins reach `fewest`, summed over all outcomes."""
    discordant = np.arange(len(fewest))
    weights = binom.pmf(discordant, n, discordance)
    return float((weights * binom.sf(fewest - 1, discordant, (discordance + difference) / (2 * discordance))).sum())


def drawn_rate(fewest: Integers, n: int, discordance: float, difference: float, rng: np.random.Generator) -> int:
    """Promotions in `N_DRAWS` draws of a test set."""
    discordant = rng.binomial(n, discordance, N_DRAWS)
    wins = rng.binomial(discordant, (discordance + difference) / (2 * discordance))
    # A draw beyond the table (probability 1e-10) counts as refused.
    inside = discordant < len(fewest)
    return int((wins[inside] >= fewest[discordant[inside]]).sum())


def highest_count(n: int, discordance: float) -> int:
    return int(binom.isf(NEGLECTED, n, discordance))


def paired_rows(test: str, n: int, threshold: float, fewest: Integers, truths: Sequence[float], rng: np.random.Generator) -> list[PowerRow]:
    rows = []
    for discordance in DISCORDANCES:
        for truth in truths:
            if abs(truth) > discordance:  # more can not have changed than samples differ
                continue
            n_promoted = drawn_rate(fewest, n, discordance, truth, rng)
            interval = clopper_pearson(n_promoted, N_DRAWS)
            rate = exact_rate(fewest, n, discordance, truth)
            rows.append(_power_row(test, n, threshold, discordance, truth, interval.value, interval.low, interval.high, rate))
    return rows


def _power_row(test: str, n: int, threshold: float, discordance: float | None, truth: float, *rates: float) -> PowerRow:
    rate, low, high, exact = (round(value, 6) for value in rates)
    return PowerRow(test, n, threshold, LEVEL, discordance, truth, rate, low, high, N_DRAWS, exact)


def min_metric_rows(n: int, rng: np.random.Generator) -> list[PowerRow]:
    rows = []
    passes = np.array([one_sided_bounds(hits, n, LEVEL).low >= FLOOR for hits in range(n + 1)])
    for accuracy in ACCURACIES:
        interval = clopper_pearson(int(passes[rng.binomial(n, accuracy, N_DRAWS)].sum()), N_DRAWS)
        exact = float(binom.pmf(np.arange(n + 1), n, accuracy)[passes].sum())
        rows.append(_power_row("min_metric", n, FLOOR, None, accuracy, interval.value, interval.low, interval.high, exact))
    return rows


def power_rows() -> list[PowerRow]:
    rng = np.random.default_rng(SEED)
    rows: list[PowerRow] = []
    for margin in MARGINS:
        for n in SIZES:
            fewest = fewest_wins(non_inferior_rule(n, margin), highest_count(n, max(DISCORDANCES)))
            rows += paired_rows("non_inferior", n, -margin, fewest, (-margin, 0.0, 0.02), rng)
    fewest = fewest_wins(superior_rule, highest_count(max(SIZES), max(DISCORDANCES)))
    for n in (30, 50, *SIZES):
        rows += paired_rows("superior", n, 0.0, fewest, GAINS, rng)
    for n in (30, 50, *SIZES):
        rows += min_metric_rows(n, rng)
    return rows


def error_rate_rows() -> list[ErrorRateRow]:
    rows = []
    for margin in MARGINS:
        for n in ERROR_SIZES:
            worst: list[float] = []
            for rule in (non_inferior_rule, asymptotic_rule):
                fewest = fewest_wins(rule(n, margin), highest_count(n, 0.4))
                rates = [(exact_rate(fewest, n, rate, -margin), rate) for rate in np.linspace(margin, 0.4, 400)]
                worst += [round(value, 6) for value in max(rates)]
            rows.append(ErrorRateRow(n, margin, LEVEL, smallest_n_for_a_tie(margin, LEVEL), *worst))
    return rows


def write_rows(rows: Sequence[Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(rows[0])], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def write_settings(path: Path, cpu_seconds: float, command: str, settings: Mapping[str, float]) -> None:
    versions = {name: version(name) for name in ("numpy", "scipy")} | {"python": platform.python_version()}
    content = {"command": command, "cpu_seconds": round(cpu_seconds), "processor": platform.machine()}
    path.write_text(json.dumps(content | {"versions": versions, "settings": settings}, indent=2) + "\n", encoding="utf-8")


def read_table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def docs_tables(power: Sequence[dict[str, str]], errors: Sequence[dict[str, str]]) -> dict[str, str]:
    """The tables of docs/gates.md, each by the name between its markers."""
    return {
        "error_rates": _error_table(errors),
        "non_inferior": _power_table(power, "non_inferior", "0.0", "margin", lambda row: _points(-float(row["threshold"]))),
        "superior": _superior_table(power),
        "min_metric": _min_metric_table(power),
    }


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _points(difference: float) -> str:
    number = f"{100 * difference:g}"
    return f"{number} point" if number == "1" else f"{number} points"


def _percent(text: str, decimals: int = 0) -> str:
    return f"{100 * float(text):.{decimals}f} %"


def _error_table(errors: Sequence[dict[str, str]]) -> str:
    header = ("margin", "n", "exact test (decides)", "at discordance", "asymptotic bound (does not)", "at discordance")
    columns = ("exact_test", "exact_test_discordance", "asymptotic_bound", "asymptotic_bound_discordance")
    rows = [[_points(float(row["margin"])), row["n"], *(_percent(row[name], 2) for name in columns)] for row in errors]
    return markdown_table(header, rows)


def _power_table(power: Sequence[dict[str, str]], test: str, truth: str, name: str, group: Callable[[dict[str, str]], str]) -> str:
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for row in power:
        if row["test"] == test and row["truth"] == truth:
            cells.setdefault((group(row), row["n"]), {})[row["discordance"]] = _percent(row["promote_rate"])
    header = [name, "n", *(f"discordance {100 * rate:g} %" for rate in DISCORDANCES)]
    return markdown_table(header, [[*key, *(found.get(str(rate), "-") for rate in DISCORDANCES)] for key, found in cells.items()])


def _superior_table(power: Sequence[dict[str, str]]) -> str:
    tables = [_power_table(power, "superior", str(gain), "true gain", lambda row: _points(float(row["truth"]))) for gain in GAINS]
    return "\n".join([tables[0], *("\n".join(table.splitlines()[2:]) for table in tables[1:])])


def _min_metric_table(power: Sequence[dict[str, str]]) -> str:
    cells: dict[str, list[str]] = {}
    for row in power:
        if row["test"] == "min_metric":
            cells.setdefault(row["n"], []).append(_percent(row["promote_rate"]))
    return markdown_table(["n", *(f"true accuracy {100 * value:g} %" for value in ACCURACIES)], [[n, *rates] for n, rates in cells.items()])


def with_tables(text: str, tables: Mapping[str, str], command: str = COMMAND) -> str:
    """The page with each table in place of what stands between its markers."""
    for name, table in tables.items():
        begin, end = f"<!-- table {name}: made by {command} -->", f"<!-- end of table {name} -->"
        before, rest = text.split(begin)
        text = before + begin + "\n" + table + "\n" + end + rest.split(end)[1]
    return text


def main(arguments: Sequence[str]) -> None:
    started = time.process_time()
    if "--docs" not in arguments:
        write_rows(power_rows(), POWER)
        write_rows(error_rate_rows(), ERROR_RATES)
        write_settings(
            POWER.with_suffix(".json"), time.process_time() - started, COMMAND, {"level": LEVEL, "n_draws": N_DRAWS, "seed": SEED}
        )
    tables = docs_tables(read_table(POWER), read_table(ERROR_RATES))
    DOCS.write_text(with_tables(DOCS.read_text(encoding="utf-8"), tables), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
