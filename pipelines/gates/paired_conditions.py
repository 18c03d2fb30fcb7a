"""Two conditions on two models' answers for the same test samples, for gates that compare with something else than the champion.

The tests are those of `beats_champion`: the exact McNemar test, and the exact unconditional test of a margin (`pipelines.paired_exact`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydantic import JsonValue

from pipelines.answers import TestAnswers
from pipelines.core.errors import DataError
from pipelines.gates.decision import Decision, GateKind, Outcome, percent, points
from pipelines.intervals import ProportionInterval, mcnemar_p_value
from pipelines.paired_exact import difference_p_value, exact_bounds, smallest_n_for_a_tie


@dataclass(frozen=True)
class Compared:
    """How often two models' answers for n samples differ in being right.

    Attributes:
        n_wins: Right by the first alone.
        n_losses: Right by the second alone.
        n_right, n_right_other: Right by the first, and by the second.
    """

    n: int
    n_wins: int
    n_losses: int
    n_right: int
    n_right_other: int

    @property
    def difference(self) -> float:
        """Of the accuracies, first minus second."""
        return (self.n_wins - self.n_losses) / self.n


@dataclass(frozen=True)
class Asked:
    """A condition's name and limits.

    Attributes:
        gate: Whose condition it is.
        condition: In a few words.
        level: Of the one-sided test.
        min_n: Samples needed.
        detail: Further facts for the decision.
    """

    gate: GateKind
    condition: str
    level: float
    min_n: int
    detail: dict[str, JsonValue]


def compare(answers: TestAnswers, other: TestAnswers) -> Compared:
    """Pairs two evaluations by sample id.

    Raises:
        DataError: They are not of the same samples: other ids or true labels.
    """
    order, other_order = np.argsort(answers.ids), np.argsort(other.ids)
    for name in ("ids", "labels"):
        if not np.array_equal(getattr(answers, name)[order], getattr(other, name)[other_order]):
            raise DataError(
                got=f"two evaluations with other {name}.",
                allowed="two evaluations of the same test samples.",
                next_step="run `regraft retrain` again: both are made from the split of one run.",
            )
    return count(answers.correct[order], other.correct[other_order])


def count(right: np.ndarray, right_other: np.ndarray) -> Compared:
    """Counts for [n] answers of each, row i of both being the same sample."""
    wins, losses = int((right & ~right_other).sum()), int((right_other & ~right).sum())
    return Compared(len(right), wins, losses, int(right.sum()), int(right_other.sum()))


def shown_better(found: Compared, asked: Asked) -> Decision:
    """Null hypothesis: the first is not more often right than the second. Exact McNemar test.

    Not better in what was seen, a tie included, refuses. Better, yet where the second is wrong so seldom that even a first without an
    error could not be shown better: `insufficient_data`.
    """
    p_value = mcnemar_p_value(found.n_wins, found.n_losses)
    outcome, why = _better_outcome(found, asked, p_value)
    return Decision(
        gate=asked.gate,
        condition=asked.condition,
        outcome=outcome,
        statistic=found.difference,
        level=asked.level,
        p_value=p_value,
        n=found.n,
        threshold=0.0,
        reason=f"{_counts(found)}; {why}",
        detail=_detail(found, asked, "mcnemar"),
    )


def _better_outcome(found: Compared, asked: Asked, p_value: float) -> tuple[Outcome, str]:
    if found.n < asked.min_n:
        return "insufficient_data", _too_few(asked)
    chance = f"by chance alone so much or more would be seen with probability {p_value:.2g}"
    if p_value <= 1 - asked.level:
        return "pass", f"{chance}, so it is better."
    if found.n_wins <= found.n_losses:
        return "refuse", "that is no gain."
    n_wrong_other = found.n - found.n_right_other
    if mcnemar_p_value(n_wrong_other, 0) > 1 - asked.level:
        return "insufficient_data", f"{chance}; with so few errors to correct not even perfect answers show it: label more test samples."
    return "refuse", f"{chance}, and at most {1 - asked.level:.2g} is asked for."


def shown_not_worse(found: Compared, margin: float, asked: Asked) -> Decision:
    """Null hypothesis: the first's accuracy is below the second's by the margin or more. Exact unconditional test."""
    bounds = exact_bounds(found.n_wins, found.n_losses, found.n, asked.level, threshold=-margin)
    p_value = difference_p_value(found.n_wins, found.n_losses, found.n, -margin)
    outcome, why = _not_worse_outcome(bounds, margin, asked, p_value)
    return Decision(
        gate=asked.gate,
        condition=asked.condition,
        outcome=outcome,
        statistic=bounds.value,
        low=bounds.low,
        high=bounds.high,
        level=asked.level,
        p_value=p_value,
        n=found.n,
        threshold=-margin,
        reason=f"{_counts(found)}; {why}",
        detail=_detail(found, asked, "non_inferior"),
    )


def _not_worse_outcome(bounds: ProportionInterval, margin: float, asked: Asked, p_value: float) -> tuple[Outcome, str]:
    if bounds.n < asked.min_n:
        return "insufficient_data", _too_few(asked)
    limit = points(-margin)
    sure = f"at {percent(asked.level)} confidence the change is {points(bounds.low)} or better, and down to {limit} is acceptable"
    if p_value <= 1 - asked.level:
        return "pass", f"{sure}."
    if bounds.value < -margin:
        return "refuse", f"{sure}: more than that was lost."
    if margin > 0 and bounds.n < (needed := smallest_n_for_a_tie(margin, asked.level)):
        return "insufficient_data", f"{sure}; below {needed} samples not even equal answers show it: label more test samples."
    return "refuse", f"{sure}: what was seen is within the margin, but not surely so. More test samples would tell."


def _too_few(asked: Asked) -> str:
    return f"that is fewer than the {asked.min_n} samples the gate asks for: label more test samples."


def _counts(found: Compared) -> str:
    return f"of {found.n} samples {found.n_wins} became right and {found.n_losses} became wrong, {points(found.difference)}"


def _detail(found: Compared, asked: Asked, test: str) -> dict[str, JsonValue]:
    counts: dict[str, JsonValue] = {"test": test, "n_wins": found.n_wins, "n_losses": found.n_losses}
    return {**counts, "accuracy": found.n_right / found.n, "accuracy_compared_with": found.n_right_other / found.n, **asked.detail}
