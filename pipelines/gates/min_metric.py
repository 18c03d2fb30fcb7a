"""The gate `min_metric`: the candidate's accuracy on the test split clears a floor, with confidence."""

from __future__ import annotations

import math

from pipelines.answers import TestAnswers
from pipelines.config import MinMetricGate
from pipelines.gates.decision import Decision, Outcome, percent
from pipelines.intervals import ProportionInterval, one_sided_bounds


def min_metric(rule: MinMetricGate, answers: TestAnswers) -> Decision:
    """Null hypothesis: the true accuracy is below the floor.

    Passes where the one-sided lower Clopper-Pearson bound at `rule.level` is the floor or more, so a candidate whose true accuracy is
    below the floor passes with probability `1 - rule.level` at most, at every n.

    Args:
        rule: Of the conf file.
        answers: The candidate's, on the whole test split.
    """
    n_correct = int(answers.correct.sum())
    interval = one_sided_bounds(n_correct, answers.n, rule.level)
    outcome, why = _outcome(rule, interval)
    return Decision(
        gate="min_metric",
        condition=f"{rule.metric} of at least {percent(rule.floor)} on all test samples",
        outcome=outcome,
        statistic=interval.value,
        low=interval.low,
        high=interval.high,
        level=rule.level,
        p_value=_p_value(n_correct, answers.n, rule.floor),
        n=answers.n,
        threshold=rule.floor,
        reason=f"{n_correct} of {answers.n} test samples are right, {percent(interval.value)}; {why}",
        detail={"test": "clopper_pearson_lower", "n_correct": n_correct, "min_n": rule.min_n},
    )


def _outcome(rule: MinMetricGate, interval: ProportionInterval) -> tuple[Outcome, str]:
    sure = f"at {percent(rule.level)} confidence the true accuracy is at least {percent(interval.low)}"
    if interval.n < rule.min_n:
        return "insufficient_data", f"that is fewer than the {rule.min_n} samples the gate asks for: label more test samples."
    if interval.low >= rule.floor:
        return "pass", f"{sure}, and the floor is {percent(rule.floor)}."
    needed = samples_without_error(rule.floor, rule.level)
    if interval.value >= rule.floor and needed is not None and interval.n < needed:
        return "insufficient_data", f"{sure}; below {needed} samples no result shows {percent(rule.floor)}: label more test samples."
    return "refuse", f"{sure}, which is below the floor of {percent(rule.floor)}."


def samples_without_error(floor: float, level: float) -> int | None:
    """Samples from which a candidate without a single error clears the floor; None for a floor of 1, which no test can show."""
    if floor >= 1:
        return None
    return 1 if floor <= 0 else math.ceil(math.log(1 - level) / math.log(floor))


def _p_value(n_correct: int, n: int, floor: float) -> float:
    from scipy.special import bdtrc

    return float(bdtrc(n_correct - 1, n, floor))
