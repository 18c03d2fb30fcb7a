"""The conditions of the gate `beats_champion` where it compares accuracy, each on some of the paired test samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from pydantic import JsonValue

from pipelines.config import BeatsChampionGate
from pipelines.gates.decision import Decision, Outcome, percent, points
from pipelines.gates.pairing import Pairs
from pipelines.intervals import ProportionInterval, mcnemar_p_value
from pipelines.paired_exact import difference_p_value, exact_bounds, smallest_n_for_a_tie


def non_inferior(pairs: Pairs, rule: BeatsChampionGate, subject: str) -> Decision:
    """Null hypothesis: the candidate's accuracy is below the champion's by the margin or more.

    Args:
        pairs: The samples to test on.
        rule: Of the conf file.
        subject: What the samples are, for the condition's name.
    """
    condition = f"not worse than the champion by {100 * rule.margin:g} points on {subject}"
    if pairs.n < max(rule.min_n, 1):
        return too_few(pairs, rule, condition, "non_inferior")
    bounds = exact_bounds(pairs.n_wins, pairs.n_losses, pairs.n, rule.level, threshold=-rule.margin)
    p_value = difference_p_value(pairs.n_wins, pairs.n_losses, pairs.n, -rule.margin)
    outcome, why = _non_inferior_outcome(rule, bounds, p_value)
    return Decision(
        gate="beats_champion",
        condition=condition,
        outcome=outcome,
        statistic=bounds.value,
        low=bounds.low,
        high=bounds.high,
        level=rule.level,
        p_value=p_value,
        n=pairs.n,
        threshold=-rule.margin,
        reason=f"{_counts(pairs)}; {why}",
        detail=_detail(pairs, "non_inferior"),
    )


def _non_inferior_outcome(rule: BeatsChampionGate, bounds: ProportionInterval, p_value: float) -> tuple[Outcome, str]:
    limit = points(-rule.margin)
    sure = f"at {percent(rule.level)} confidence the change is {points(bounds.low)} or better, and down to {limit} is acceptable"
    if p_value <= 1 - rule.level:
        return "pass", f"{sure}."
    if bounds.value < -rule.margin:
        return "refuse", f"{sure}: the candidate lost more than that."
    needed = samples_for_a_tie(rule)
    if needed is not None and bounds.n < needed:
        return "insufficient_data", f"{sure}; below {needed} samples not even equal answers show it: label more test samples."
    return "refuse", f"{sure}: what was seen is within the margin, but not surely so. More test samples would tell."


def samples_for_a_tie(rule: BeatsChampionGate) -> int | None:
    """Samples from which a candidate that answers exactly as the champion passes; None for a margin of 0, at which a tie never does."""
    return smallest_n_for_a_tie(rule.margin, rule.level) if rule.margin > 0 else None


def superior(pairs: Pairs, rule: BeatsChampionGate, subject: str) -> Decision:
    """Null hypothesis: the candidate is not better than the champion. Exact McNemar test.

    Args:
        pairs: The samples to test on.
        rule: Of the conf file.
        subject: What the samples are, for the condition's name.
    """
    condition = f"better than the champion on {subject}"
    if pairs.n < max(rule.min_n, 1):
        return too_few(pairs, rule, condition, "superior")
    p_value = mcnemar_p_value(pairs.n_wins, pairs.n_losses)
    passed = p_value <= 1 - rule.level
    return Decision(
        gate="beats_champion",
        condition=condition,
        outcome="pass" if passed else "refuse",
        statistic=(pairs.n_wins - pairs.n_losses) / pairs.n,
        level=rule.level,
        p_value=p_value,
        n=pairs.n,
        threshold=0.0,
        reason=f"{_counts(pairs)}; by chance alone so much or more would be seen with probability {p_value:.2g}"
        f"{', so it is better' if passed else f', and at most {1 - rule.level:.2g} is asked for'}.",
        detail=_detail(pairs, "superior"),
    )


def not_shown_worse(pairs: Pairs, rule: BeatsChampionGate, subject: str, n_subjects: int) -> Decision:
    """Null hypothesis: the loss is at most the margin; refuses where the samples exclude it.

    For domains that are too small to show non-inferiority. It can only stop a promotion, never cause one.

    Args:
        pairs: The samples to test on, at least one.
        rule: Of the conf file.
        subject: What the samples are, for the condition's name.
        n_subjects: How many such tests the run makes; together they stop an acceptable candidate with probability 1 - level at most.
    """
    error = (1 - rule.level) / n_subjects
    # A loss seen from the champion's side is a gain, so the same test serves.
    p_value = difference_p_value(pairs.n_losses, pairs.n_wins, pairs.n, rule.margin)
    refused = p_value <= error
    verdict = "that is a loss beyond the margin" if refused else "too few to prove more, and no loss beyond the margin is shown"
    return Decision(
        gate="beats_champion",
        condition=f"not shown to be worse than the champion by {100 * rule.margin:g} points on {subject}",
        outcome="refuse" if refused else "pass",
        statistic=(pairs.n_wins - pairs.n_losses) / pairs.n,
        n=pairs.n,
        threshold=-rule.margin,
        reason=f"{_counts(pairs)}; {verdict}.",
        detail=_detail(pairs, "not_shown_worse") | {"p_value_of_worse": p_value, "refused_at_p_value": error},
    )


def worst_of(harm: Sequence[Decision], subject: str) -> Decision:
    """The decisions of `not_shown_worse` on many groups as one, which refuses where any of them does.

    Args:
        harm: At least one, each of another group.
        subject: What the groups are, for the condition's name.
    """
    worst = min(harm, key=lambda decision: cast(float, decision.detail["p_value_of_worse"]))
    n_refused = sum(decision.outcome == "refuse" for decision in harm)
    condition, _, group = worst.condition.partition(" on ")
    return worst.model_copy(
        update={
            "condition": f"{condition} on {subject}",
            "n": sum(decision.n for decision in harm),
            "reason": f"a loss beyond the margin is shown on {n_refused} of {len(harm)}; the worst is {group}: {worst.reason}",
            "detail": worst.detail | {"worst": group, "n_groups": len(harm), "n_refused": n_refused},
        }
    )


def too_few(pairs: Pairs, rule: BeatsChampionGate, condition: str, test: str) -> Decision:
    """A condition that has fewer samples than the gate asks for."""
    return Decision(
        gate="beats_champion",
        condition=condition,
        outcome="insufficient_data",
        statistic=None,
        level=rule.level,
        n=pairs.n,
        threshold=-rule.margin if test == "non_inferior" else 0.0,
        reason=f"there are {pairs.n} such test samples, and the gate asks for {rule.min_n}: label more of them.",
        detail={"test": test, "min_n": rule.min_n},
    )


def _counts(pairs: Pairs) -> str:
    change = points((pairs.n_wins - pairs.n_losses) / pairs.n)
    return f"of {pairs.n} samples {pairs.n_wins} became right and {pairs.n_losses} became wrong, {change}"


def _detail(pairs: Pairs, test: str) -> dict[str, JsonValue]:
    return {
        "test": test,
        "n_wins": pairs.n_wins,
        "n_losses": pairs.n_losses,
        "candidate_accuracy": float(pairs.candidate_correct.mean()),
        "champion_accuracy": float(pairs.champion_correct.mean()),
    }
