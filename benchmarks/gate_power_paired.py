"""How often `beats_champion` promotes where it compares macro-F1 or AUROC: its error rates and its power, measured.

Run: `python -m benchmarks.gate_power_paired` (8 to 9 minutes on one core). Writes results/gate_power_paired.csv, beside it a .json with
the versions and the settings, and its tables in docs/gates.md (`--docs` writes the tables alone).

Every row draws `n_draws` test sets and lets the test that decides judge them, beside two that do not: Wald's (the same effects, with the
spread that was seen; for AUROC DeLong's test) and the percentile bootstrap (macro-F1 at the border of the null
hypothesis, the first `N_BOOTSTRAPPED` draws).

    labels     equally frequent, or one of them on 5 % of the samples
    losses     where the candidate is worse: `everywhere`, or on the `rarest` label (the last one) alone
    macro-F1   the champion is right on 90 % of each label's samples; besides what the truth says, the two differ on 5 % of all
    AUROC      0.95 of each label for the champion; the noise in the two models' scores has a correlation of 0.95
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import norm

from benchmarks.gate_power import DOCS, ROOT, markdown_table, read_table, with_tables, write_rows, write_settings
from pipelines.gates.paired_metric_tests import MIN_SAMPLES_OF_A_LABEL
from pipelines.gates.paired_metrics import Metric, Scored, compare
from pipelines.intervals import clopper_pearson

RESULTS = ROOT / "benchmarks" / "results" / "gate_power_paired.csv"
COMMAND = "python -m benchmarks.gate_power_paired"
LEVEL, MARGIN, GAIN = 0.95, 0.03, 0.05
N_DRAWS, N_BOOTSTRAPPED, N_RESAMPLES = 2_000, 200, 300
SEED = 20_261
SIZES = (100, 200, 300, 500, 1000)
N_LABELS: dict[Metric, tuple[int, ...]] = {"macro_f1": (2, 10), "auroc": (2, 5)}
RARE_FRAC = 0.05
CHAMPION_ACCURACY, DISCORDANCE = 0.9, 0.05
CHAMPION_AREA, CORRELATION = 0.95, 0.95

Losses = Literal["everywhere", "rarest"]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Situation:
    """Two models and the samples that they meet; `truth` is the candidate's metric minus the champion's, 0 or below."""

    metric: Metric
    n_labels: int
    rare: bool
    losses: Losses
    truth: float

    @property
    def frequencies(self) -> Floats:
        """[l] of the labels."""
        if not self.rare:
            return np.full(self.n_labels, 1 / self.n_labels)
        others = np.full(self.n_labels - 1, (1 - RARE_FRAC) / (self.n_labels - 1))
        return np.append(others, RARE_FRAC)


@dataclass(frozen=True)
class Row:
    """Promotions in one situation, by the test that decides and by two that do not."""

    test: str
    metric: str
    n_labels: int
    rarest_frac: float
    losses: str
    n: int
    threshold: float
    level: float
    truth: float
    promote_rate: float
    low: float
    high: float
    n_draws: int
    wald_rate: float
    bootstrap_rate: float | None


def answers_model(situation: Situation) -> Floats:
    """[l, l, l]: probability of a true label with an answer of the champion and one of the candidate, the truth holding exactly."""

    def joint(loss: float) -> Floats:
        return _joint(situation.frequencies, _rates(situation, loss))

    def excess(loss: float) -> float:
        return _macro_f1(joint(loss).sum(axis=1)) - _macro_f1(joint(loss).sum(axis=2)) - situation.truth

    return joint(brentq(excess, 0, CHAMPION_ACCURACY - DISCORDANCE / 2) if situation.truth else 0.0)


def _rates(situation: Situation, loss: float) -> Floats:
    if situation.losses == "everywhere":
        return np.full(situation.n_labels, loss)
    return np.append(np.zeros(situation.n_labels - 1), loss)


def _joint(frequencies: Floats, losses: Floats) -> Floats:
    n_labels = len(frequencies)
    found = np.zeros((n_labels,) * 3)
    for label in range(n_labels):
        others = np.arange(n_labels) != label
        lost, won = DISCORDANCE / 2 + losses[label], DISCORDANCE / 2
        found[label, label, label] = CHAMPION_ACCURACY - lost
        found[label, label, others] = lost / (n_labels - 1)
        found[label, others, others] = (1 - CHAMPION_ACCURACY - won) / (n_labels - 1)
        found[label, others, label] = won / (n_labels - 1)
    return found * frequencies[:, None, None]


def _macro_f1(confusion: Floats) -> float:
    return float((2 * np.diag(confusion) / (confusion.sum(axis=0) + confusion.sum(axis=1))).mean())


def draw_answers(situation: Situation, n: int, rng: np.random.Generator) -> Iterator[Scored]:
    """Endless test sets with the answers of both models."""
    joint, one_hot = answers_model(situation), np.eye(situation.n_labels)
    cumulated = np.cumsum(joint.ravel())
    while True:
        cells = np.searchsorted(cumulated, rng.random(n) * cumulated[-1], side="right")
        true, champion, candidate = np.unravel_index(cells, joint.shape)
        yield Scored("macro_f1", _names(situation), one_hot[true] > 0, one_hot[candidate], one_hot[champion])


def failure_rate(situation: Situation) -> float:
    """Share of the samples (of the rarest label) that the candidate scores as if they had another label, the truth holding exactly."""

    def excess(rate: float) -> float:
        return float(_areas(situation, rate).mean()) - CHAMPION_AREA - situation.truth

    return float(brentq(excess, 0, 0.95)) if situation.truth else 0.0


def _areas(situation: Situation, rate: float) -> Floats:
    # [l]. A sample scores as one of the label or as one without it; of two that score alike either is higher with probability 1/2.
    n_labels, frequencies = situation.n_labels, situation.frequencies
    fails = _rates(situation, rate)
    areas = np.empty(n_labels)
    for label in range(n_labels):
        others = np.arange(n_labels) != label
        intruding = float((frequencies[others] * fails[others]).sum() / frequencies[others].sum()) / (n_labels - 1)
        missed = fails[label]
        alike = (1 - missed) * intruding + missed * (1 - intruding)
        areas[label] = (1 - missed) * (1 - intruding) * CHAMPION_AREA + alike / 2 + missed * intruding * (1 - CHAMPION_AREA)
    return areas


def draw_scores(situation: Situation, n: int, rng: np.random.Generator) -> Iterator[Scored]:
    """Endless test sets with normally distributed scores of both models."""
    n_labels, distance = situation.n_labels, norm.ppf(CHAMPION_AREA) * np.sqrt(2)
    rates, one_hot = _rates(situation, failure_rate(situation)), np.eye(situation.n_labels)
    while True:
        true = rng.choice(n_labels, n, p=situation.frequencies)
        fails = rng.random(n) < rates[true]
        scored_as = np.where(fails, (true + rng.integers(1, n_labels, n)) % n_labels, true)
        noise, own = rng.standard_normal((2, n, n_labels))
        champion = noise + distance * one_hot[true]
        candidate = CORRELATION * noise + np.sqrt(1 - CORRELATION**2) * own + distance * one_hot[scored_as]
        if n_labels == 2:  # the probability of one label says all
            champion, candidate = (np.stack([-scores[:, 1], scores[:, 1]], axis=1) for scores in (champion, candidate))
        yield Scored("auroc", _names(situation), one_hot[true] > 0, candidate, champion)


def _names(situation: Situation) -> tuple[str, ...]:
    return tuple(str(label) for label in range(situation.n_labels))


DRAW: dict[Metric, Callable[[Situation, int, np.random.Generator], Iterator[Scored]]] = {"macro_f1": draw_answers, "auroc": draw_scores}


def promotions(
    situation: Situation, n: int, threshold: float, n_draws: int, rng: np.random.Generator, *, gain: bool = False, n_bootstrapped: int = 0
) -> list[int]:
    """How many of the drawn test sets promote: by the test that decides, by Wald's, and of the first ones by the bootstrap.

    Args:
        situation: The two models.
        n: Samples in each test set.
        threshold: That the difference must exceed.
        n_draws: Test sets.
        rng: For the draws.
        gain: Whether the two models change places, so that the candidate is the better one.
        n_bootstrapped: Test sets that the bootstrap sees, too.
    """
    counts, critical = [0, 0, 0], float(norm.ppf(LEVEL))
    for number, drawn in zip(range(n_draws), DRAW[situation.metric](situation, n, rng), strict=False):
        if drawn.n_with.min() < MIN_SAMPLES_OF_A_LABEL:  # the gate says insufficient_data
            continue
        scored = drawn.swapped if gain else drawn
        found = compare(scored)
        counts[0] += found.p_value(threshold) <= 1 - LEVEL
        counts[1] += found.value - threshold >= critical * math.sqrt(found.variance / n)
        if number < n_bootstrapped:
            counts[2] += bool(np.quantile(bootstrapped_f1(scored, rng), 1 - LEVEL) >= threshold)
    return counts


def bootstrapped_f1(scored: Scored, rng: np.random.Generator) -> Floats:
    """The difference of macro-F1 in `N_RESAMPLES` resamples of the test set; a label that a resample lacks is left out there."""
    n = len(scored.targets)
    times = rng.multinomial(n, np.full(n, 1 / n), N_RESAMPLES).astype(np.float64)
    has = times @ scored.targets
    macro = []
    for given in (scored.candidate, scored.champion):
        f1 = 2 * (times @ (scored.targets * given)) / np.maximum(has + times @ given, 1)
        macro.append(f1.sum(axis=1) / (has > 0).sum(axis=1))
    return np.asarray(macro[0] - macro[1])


def situations(metric: Metric) -> Iterator[tuple[str, float, bool, Situation]]:
    """Name of the test, threshold, whether the candidate is the better one, and the models."""
    for n_labels in N_LABELS[metric]:
        for rare in (False, True):
            for losses in ("everywhere", "rarest"):
                yield "non_inferior", -MARGIN, False, Situation(metric, n_labels, rare, losses, -MARGIN)
            equal = Situation(metric, n_labels, rare, "everywhere", 0.0)
            yield "non_inferior", -MARGIN, False, equal
            yield "superior", 0.0, False, equal
            yield "superior", 0.0, True, Situation(metric, n_labels, rare, "everywhere", -GAIN)


def make_row(test: str, threshold: float, gain: bool, situation: Situation, n: int, rng: np.random.Generator) -> Row:
    at_the_border = situation.metric == "macro_f1" and threshold == situation.truth
    n_bootstrapped = N_BOOTSTRAPPED if at_the_border else 0
    decided, wald, bootstrapped = promotions(situation, n, threshold, N_DRAWS, rng, gain=gain, n_bootstrapped=n_bootstrapped)
    interval = clopper_pearson(decided, N_DRAWS)
    return Row(
        test=test,
        metric=situation.metric,
        n_labels=situation.n_labels,
        rarest_frac=round(float(situation.frequencies.min()), 6),
        losses=situation.losses,
        n=n,
        threshold=threshold,
        level=LEVEL,
        truth=-situation.truth if gain else situation.truth,
        promote_rate=interval.value,
        low=round(interval.low, 6),
        high=round(interval.high, 6),
        n_draws=N_DRAWS,
        wald_rate=wald / N_DRAWS,
        bootstrap_rate=bootstrapped / n_bootstrapped if n_bootstrapped else None,
    )


def all_rows() -> list[Row]:
    rng = np.random.default_rng(SEED)
    return [make_row(*case, n, rng) for metric in N_LABELS for case in situations(metric) for n in SIZES]


def docs_tables(rows: Sequence[dict[str, str]]) -> dict[str, str]:
    """The tables of docs/gates.md, each by the name between its markers."""
    return {"paired_error_rates": _error_table(rows), "paired_power": _power_table(rows)}


def _error_table(rows: Sequence[dict[str, str]]) -> str:
    header = ["metric", "n", "score test (decides)", "Wald, for AUROC DeLong (does not)", "percentile bootstrap (does not)"]
    cells = []
    for metric in N_LABELS:
        for n in SIZES:
            border = [row for row in rows if (row["metric"], row["n"]) == (metric, str(n)) and row["truth"] == row["threshold"]]
            rates = [max((float(row[name]) for row in border if row[name]), default=None) for name in _RATES]
            cells.append([_NAMES[metric], str(n), *("-" if rate is None else f"{100 * rate:.1f} %" for rate in rates)])
    return markdown_table(header, cells)


_RATES = ("promote_rate", "wald_rate", "bootstrap_rate")
_NAMES: dict[Metric, str] = {"macro_f1": "macro-F1", "auroc": "AUROC"}


def _power_table(rows: Sequence[dict[str, str]]) -> str:
    columns = [(test, truth) for test, truth in (("non_inferior", 0.0), ("superior", GAIN))]
    header = ["metric", "labels", "rarest label", "n", "equal: not worse by 3 points", "5 points better: better"]
    cells: dict[tuple[str, ...], list[str]] = {}
    for test, truth in columns:
        for row in rows:
            if row["test"] == test and float(row["truth"]) == truth:
                key = (_NAMES[_metric(row)], row["n_labels"], f"{100 * float(row['rarest_frac']):g} %", row["n"])
                cells.setdefault(key, []).append(f"{100 * float(row['promote_rate']):.0f} %")
    return markdown_table(header, [[*key, *rates] for key, rates in cells.items()])


def _metric(row: dict[str, str]) -> Metric:
    return "auroc" if row["metric"] == "auroc" else "macro_f1"


def main(arguments: Sequence[str]) -> None:
    started = time.process_time()
    if "--docs" not in arguments:
        write_rows(all_rows(), RESULTS)
        settings = {"level": LEVEL, "margin": MARGIN, "n_draws": N_DRAWS, "n_bootstrapped": N_BOOTSTRAPPED, "seed": SEED}
        write_settings(RESULTS.with_suffix(".json"), time.process_time() - started, COMMAND, settings)
    DOCS.write_text(with_tables(DOCS.read_text(encoding="utf-8"), docs_tables(read_table(RESULTS)), COMMAND), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
