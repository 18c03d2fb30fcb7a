"""How often the gates on macro-F1, AUROC, calibration and slices promote: their error rates and their power, measured.

Run: `python -m benchmarks.gate_power_metrics` (2 minutes on one core). Writes results/gate_power_metrics.csv and
results/gate_errors_metrics.csv, beside them a .json with the versions and the settings, and the tables of docs/gates.md from the two files
(`--docs` writes the tables alone).

    gate_power_metrics.csv     for each test, n, threshold and true value the rate of promotions in n_draws draws, with its 95 %
                               Clopper-Pearson interval
    gate_errors_metrics.csv    for each test, level and n the highest rate at which a candidate exactly at the threshold is promoted, over
                               all situations drawn (`situation` names the one), and the same by the normal bound, which does not decide
"""

from __future__ import annotations

import json
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import version
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from benchmarks.gate_power import DOCS, ROOT, read_table, with_tables, write_rows
from pipelines.gates.calibration import BinnedErrors, binned_errors, debiased_error, error_upper_bound, n_bins
from pipelines.gates.label_losses import LabelLoss, auroc_loss, macro_f1_loss
from pipelines.gates.min_metric import MIN_N_OF_A_LABEL
from pipelines.intervals import clopper_pearson
from pipelines.mean_bounds import upper_bound
from pipelines.unpaired_exact import GroupCounts, lag_p_value

POWER = ROOT / "benchmarks" / "results" / "gate_power_metrics.csv"
ERRORS = ROOT / "benchmarks" / "results" / "gate_errors_metrics.csv"
COMMAND = "python -m benchmarks.gate_power_metrics"
LEVEL = 0.95
# 0.9975 is what `test_reuse` with `spread` makes of 0.95 for 20 looks.
ERROR_LEVELS = (0.95, 0.99, 0.9975)
SEED = 20_262
N_DRAWS = 2000
FLOOR = 0.9
MAX_ERROR = 0.05
GAP = 0.1
N_LABELS = 4
SIZES = (100, 300, 1000)
VALUES = (0.9, 0.93, 0.95, 0.97)
CALIBRATION_SIZES = (100, 200, 300, 500, 1000, 2000)
CALIBRATION_ERRORS = (0.05, 0.03, 0.01, 0.0)
GROUP_SIZES = (50, 100, 300, 1000)
LAGS = (0.1, 0.05, 0.02, 0.0)
AHEAD = 0.95

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Draw = Callable[[np.random.Generator, int], LabelLoss | None]


@dataclass(frozen=True)
class PowerRow:
    """Promotions in one situation; `n` is that of each group for `slices_gap`."""

    test: str
    n: int
    threshold: float
    level: float
    truth: float
    promote_rate: float
    low: float
    high: float
    n_draws: int


@dataclass(frozen=True)
class ErrorRow:
    """The highest rates of wrong promotions over `n_situations`."""

    test: str
    level: float
    n: int
    n_situations: int
    n_draws: int
    highest_rate: float
    situation: str
    normal_bound: float


def power_row(test: str, n: int, threshold: float, truth: float, n_passed: int) -> PowerRow:
    interval = clopper_pearson(n_passed, N_DRAWS)
    rate, low, high = (round(value, 6) for value in (interval.value, interval.low, interval.high))
    return PowerRow(test, n, threshold, LEVEL, truth, rate, low, high, N_DRAWS)


def as_flags(labels: NDArray[np.int64], n_labels: int) -> Flags:
    return np.eye(n_labels, dtype=bool)[labels]


def drawn_f1(rng: np.random.Generator, n: int, shares: Floats, error: float) -> LabelLoss | None:
    """Every wrong answer is any other label; None where the gate would say insufficient_data."""
    n_labels = len(shares)
    true = rng.choice(n_labels, n, p=shares)
    answered = np.where(rng.random(n) < error, (true + rng.integers(1, n_labels, n)) % n_labels, true)
    if np.bincount(true, minlength=n_labels).min() < MIN_N_OF_A_LABEL:
        return None
    return macro_f1_loss(as_flags(true, n_labels), as_flags(answered, n_labels), exclusive=True)


def f1_of(shares: Floats, error: float) -> float:
    n_labels = len(shares)
    pairs = shares[:, None] * np.where(np.eye(n_labels), 1 - error, error / (n_labels - 1))
    return float((2 * np.diag(pairs) / (pairs.sum(axis=0) + pairs.sum(axis=1))).mean())


def drawn_auroc(rng: np.random.Generator, n: int, n_labels: int, confusion: float) -> LabelLoss | None:
    """Labels alike in number; a share of the samples looks just like those of the next label."""
    true = rng.integers(0, n_labels, n)
    seen = np.where(rng.random(n) < confusion, (true + 1) % n_labels, true)
    if np.bincount(true, minlength=n_labels).min() < MIN_N_OF_A_LABEL:
        return None
    return auroc_loss(as_flags(true, n_labels), rng.normal(size=(n, n_labels)) + 9 * as_flags(seen, n_labels), exclusive=True)


def auroc_of(n_labels: int, confusion: float) -> float:
    """A sample that looks like its label beats all but those that look so, too, which it meets as equals."""
    alike = confusion / (n_labels - 1)
    return (1 - confusion) * (1 - alike / 2) + confusion * (1 - alike) / 2


def confusion_for(auroc: float, n_labels: int) -> float:
    from scipy.optimize import brentq

    return float(brentq(lambda share: auroc_of(n_labels, share) - auroc, 0, 0.5))


def passes(loss: LabelLoss | None, limit: float, level: float) -> bool:
    return loss is not None and bool(upper_bound(loss.value, loss.variance, loss.heaviest, level) <= limit)


def passes_normal(loss: LabelLoss | None, limit: float, level: float) -> bool:
    return loss is not None and loss.value + ndtri(level) * loss.variance**0.5 <= limit


def metric_power_rows(rng: np.random.Generator) -> Iterator[PowerRow]:
    balanced = np.full(N_LABELS, 1 / N_LABELS)
    for n, value in product(SIZES, VALUES):
        drawn = (drawn_f1(rng, n, balanced, 1 - value) for _ in range(N_DRAWS))
        yield power_row("macro_f1", n, FLOOR, value, sum(passes(loss, 1 - FLOOR, LEVEL) for loss in drawn))
    for n, value in product(SIZES, VALUES):
        confusion = confusion_for(value, N_LABELS)
        drawn = (drawn_auroc(rng, n, N_LABELS, confusion) for _ in range(N_DRAWS))
        yield power_row("auroc", n, FLOOR, value, sum(passes(loss, 1 - FLOOR, LEVEL) for loss in drawn))


def confidences(rng: np.random.Generator, n: int, kind: str) -> Floats:
    """Sorted; `sure`: mean 0.95, as a model that is right that often; `unsure`: mean 0.77."""
    drawn = 0.5 + 0.5 * rng.beta(6, 0.6, n) if kind == "sure" else 0.3 + 0.7 * rng.beta(2, 1, n)
    return np.sort(drawn)


def chances_with(given: Floats, directions: Floats, error: float) -> Floats:
    """Chances of being right whose calibration error over the bins is `error`, off in the given directions."""
    n = len(given)
    bins = np.arange(n) * len(directions) // n
    low, high = 0.0, 3.0
    for _ in range(50):
        middle = (low + high) / 2
        chances = np.clip(given + middle * directions[bins], 0, 1)
        low, high = (middle, high) if np.abs(np.bincount(bins, chances - given)).sum() / n < error else (low, middle)
    return np.clip(given + high * directions[bins], 0, 1)


def calibration_power_rows(rng: np.random.Generator) -> Iterator[PowerRow]:
    for n, error in product(CALIBRATION_SIZES, CALIBRATION_ERRORS):
        given = confidences(rng, n, "sure")
        chances = chances_with(given, -np.ones(n_bins(n)), error) if error else given
        drawn = (binned_errors(given[:, None], (rng.random(n) < chances)[:, None], n_bins(n)) for _ in range(N_DRAWS))
        yield power_row("calibration", n, MAX_ERROR, error, sum(error_upper_bound(bins, LEVEL) <= MAX_ERROR for bins in drawn))


@cache
def shows_no_lag(first: int, second: int, n: int) -> bool:
    pair = GroupCounts(first, n), GroupCounts(second, n)
    return max(lag_p_value(*pair, GAP, LEVEL), lag_p_value(*pair[::-1], GAP, LEVEL)) <= 1 - LEVEL


def gap_power_rows(rng: np.random.Generator) -> Iterator[PowerRow]:
    for n, lag in product(GROUP_SIZES, LAGS):
        drawn = np.column_stack([rng.binomial(n, AHEAD, N_DRAWS), rng.binomial(n, AHEAD - lag, N_DRAWS)])
        outcomes, counts = np.unique(drawn, axis=0, return_counts=True)
        n_passed = sum(int(count) for pair, count in zip(outcomes.tolist(), counts, strict=True) if shows_no_lag(*pair, n))
        yield power_row("slices_gap", n, GAP, lag, n_passed)


def f1_situations() -> Iterator[tuple[str, float, Draw]]:
    """What each is, the true loss, and how to draw a test set of n samples."""
    for n_labels, is_rare, error in product((2, 5), (False, True), (0.01, 0.05, 0.2)):
        shares = np.full(n_labels, 1.0) - is_rare * 0.7 * (np.arange(n_labels) == 0)
        shares /= shares.sum()
        name = f"{n_labels} labels{', one rare' if is_rare else ''}, {100 * error:g} % wrong"
        yield name, 1 - f1_of(shares, error), partial(drawn_f1, shares=shares, error=error)


def auroc_situations() -> Iterator[tuple[str, float, Draw]]:
    """As `f1_situations`."""
    for n_labels, share in product((2, 4), (0.01, 0.05, 0.2)):
        name = f"{n_labels} labels, {100 * share:g} % like another"
        yield name, 1 - auroc_of(n_labels, share), partial(drawn_auroc, n_labels=n_labels, confusion=share)


def metric_error_rows(rng: np.random.Generator) -> Iterator[ErrorRow]:
    for test, n in product(("macro_f1", "auroc"), SIZES):
        found = list(f1_situations() if test == "macro_f1" else auroc_situations())
        drawn = [(name, limit, [draw(rng, n) for _ in range(N_DRAWS)]) for name, limit, draw in found]
        for level in ERROR_LEVELS:
            rates = [(sum(passes(loss, limit, level) for loss in losses) / N_DRAWS, name) for name, limit, losses in drawn]
            normal = max(sum(passes_normal(loss, limit, level) for loss in losses) / N_DRAWS for _, limit, losses in drawn)
            yield ErrorRow(test, level, n, len(drawn), N_DRAWS, *max(rates), normal)


def calibration_error_rows(rng: np.random.Generator) -> Iterator[ErrorRow]:
    for n in SIZES:
        drawn = []
        for kind, shape, limit in product(("sure", "unsure"), ("over", "under", "both"), (0.02, 0.05, 0.1)):
            sides = {"over": -np.ones(n_bins(n)), "under": np.ones(n_bins(n)), "both": np.where(np.arange(n_bins(n)) % 2, 1.0, -1.0)}
            given = confidences(rng, n, kind)
            chances = chances_with(given, sides[shape], limit)
            if abs(np.abs(np.bincount(np.arange(n) * n_bins(n) // n, chances - given)).sum() / n - limit) > 1e-6:
                continue  # so sure that they cannot be too low by so much
            bins = [binned_errors(given[:, None], (rng.random(n) < chances)[:, None], n_bins(n)) for _ in range(N_DRAWS // 2)]
            drawn.append((f"{kind}, {shape}, {100 * limit:g} %", limit, bins))
        for level in ERROR_LEVELS:
            rates = [(sum(error_upper_bound(found, level) <= limit for found in bins) / len(bins), name) for name, limit, bins in drawn]
            normal = max(sum(_normal_calibration(found, limit, level) for found in bins) / len(bins) for _, limit, bins in drawn)
            yield ErrorRow("calibration", level, n, len(drawn), N_DRAWS // 2, *max(rates), normal)


def _normal_calibration(bins: BinnedErrors, limit: float, level: float) -> bool:
    high: float = debiased_error(bins) + float(ndtri(level)) * float(bins.moments.sum()) ** 0.5
    return high <= limit


def write_settings(cpu_seconds: float) -> None:
    versions = {name: version(name) for name in ("numpy", "scipy")} | {"python": platform.python_version()}
    settings = {
        "level": LEVEL,
        "n_draws": N_DRAWS,
        "seed": SEED,
        "floor": FLOOR,
        "max_error": MAX_ERROR,
        "gap": GAP,
        "accuracy_ahead": AHEAD,
    }
    content = {"command": COMMAND, "cpu_seconds": round(cpu_seconds), "processor": platform.machine()}
    POWER.with_suffix(".json").write_text(
        json.dumps(content | {"versions": versions, "settings": settings}, indent=2) + "\n", encoding="utf-8"
    )


def docs_tables(power: Sequence[dict[str, str]], errors: Sequence[dict[str, str]]) -> dict[str, str]:
    """The tables of docs/gates.md, each by the name between its markers."""
    return {
        "metric_errors": _error_table([row for row in errors if row["test"] != "calibration"]),
        "calibration_errors": _error_table([row for row in errors if row["test"] == "calibration"]),
        "macro_f1": _power_table(power, "macro_f1", "n", "true macro-F1", VALUES),
        "auroc": _power_table(power, "auroc", "n", "true AUROC", VALUES),
        "calibration": _power_table(power, "calibration", "n", "true error", CALIBRATION_ERRORS),
        "slices_gap": _power_table(power, "slices_gap", "n of each group", "true difference", LAGS),
    }


def _power_table(power: Sequence[dict[str, str]], test: str, size: str, name: str, truths: Sequence[float]) -> str:
    cells: dict[str, dict[float, str]] = {}
    for row in power:
        if row["test"] == test:
            cells.setdefault(row["n"], {})[float(row["truth"])] = f"{100 * float(row['promote_rate']):.0f} %"
    header = [size, *(f"{name} {100 * truth:g} %" for truth in truths)]
    return _markdown([header, ["---"] * len(header), *([n, *(found[truth] for truth in truths)] for n, found in cells.items())])


def _error_table(errors: Sequence[dict[str, str]]) -> str:
    header = ["of", "level", "n", "stated", "this bound (decides)", "in the situation", "normal bound (does not)"]
    rows = [
        [
            row["test"],
            row["level"],
            row["n"],
            f"{100 * (1 - float(row['level'])):.2f} %",
            f"{100 * float(row['highest_rate']):.2f} %",
            row["situation"],
            f"{100 * float(row['normal_bound']):.2f} %",
        ]
        for row in errors
    ]
    return _markdown([header, ["---"] * len(header), *rows])


def _markdown(lines: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def main(arguments: Sequence[str]) -> None:
    started = time.process_time()
    if "--docs" not in arguments:
        rng = np.random.default_rng(SEED)
        write_rows([*metric_power_rows(rng), *calibration_power_rows(rng), *gap_power_rows(rng)], POWER)
        write_rows([*metric_error_rows(rng), *calibration_error_rows(rng)], ERRORS)
        write_settings(time.process_time() - started)
    tables = docs_tables(read_table(POWER), read_table(ERRORS))
    DOCS.write_text(with_tables(DOCS.read_text(encoding="utf-8"), tables, COMMAND), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
