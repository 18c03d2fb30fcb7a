"""Whether two models are equally good on the same samples, up to a margin: two one-sided exact tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pipelines.intervals import check_counts, tango_interval
from pipelines.paired_exact import difference_p_value, smallest_n_for_a_tie

Verdict = Literal["equivalent", "different", "insufficient_data"]


@dataclass(frozen=True)
class Equivalence:
    """A test of equal accuracy.

    Attributes:
        verdict: `different`: not shown to be equal, though the samples would suffice for equal answers.
        n, n_wins, n_losses: Samples; those that the first model alone, and the second alone, gets right.
        difference, low, high: Of the accuracies, first minus second, with Tango's 95 % interval.
        margin: In accuracy.
        level: Two models that differ by the margin or more are called equivalent with probability 1 - level at most.
        p_value: Of the null hypothesis that they differ by the margin or more.
        reason: A sentence.
    """

    verdict: Verdict
    n: int
    n_wins: int
    n_losses: int
    difference: float
    low: float
    high: float
    margin: float
    level: float
    p_value: float
    reason: str


def equivalence_of(n_wins: int, n_losses: int, n: int, margin: float, level: float = 0.95) -> Equivalence:
    """Null hypothesis: the accuracies differ by the margin or more, in either direction.

    Two one-sided tests (Schuirmann 1987, https://doi.org/10.1007/BF01068419), each exact (`pipelines.paired_exact`); both must
    reject, so each is made at the full level.

    Args:
        n_wins: Right by the first model alone.
        n_losses: Right by the second alone; together at most n.
        n: Paired samples, at least 1.
        margin: In (0, 1).
        level: In (0.5, 1).

    Raises:
        DataError: The counts are impossible.
    """
    check_counts(n, wins=n_wins, losses=n_losses)
    p_value = max(difference_p_value(n_wins, n_losses, n, -margin), difference_p_value(n_losses, n_wins, n, -margin))
    interval = tango_interval(n_wins, n_losses, n)
    seen = f"of {n} test samples {n_wins} are right with the first alone and {n_losses} with the second alone"
    verdict, reason = _judge(p_value, n, margin, level)
    return Equivalence(
        verdict, n, n_wins, n_losses, interval.value, interval.low, interval.high, margin, level, p_value, f"{seen}: {reason}"
    )


def _judge(p_value: float, n: int, margin: float, level: float) -> tuple[Verdict, str]:
    within = f"{100 * margin:g} points at {100 * level:g} % confidence"
    if p_value <= 1 - level:
        return "equivalent", f"the accuracies differ by less than {within}."
    needed = smallest_n_for_a_tie(margin, level)
    if n < needed:
        return "insufficient_data", f"below {needed} samples not even equal answers show a difference of less than {within}."
    return "different", f"it is not shown that the accuracies differ by less than {within}."
