"""The conditions of the gate `beats_champion` where it compares macro-F1 or AUROC, each on some of the paired test samples."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from pydantic import JsonValue

from pipelines.config import BeatsChampionGate
from pipelines.gates.decision import Decision, Outcome, percent, points
from pipelines.gates.paired_metrics import Difference, Scored, compare, countable
from pipelines.gates.paired_tests import non_inferior, superior
from pipelines.gates.pairing import Pairs

NAMES = {"accuracy": "accuracy", "macro_f1": "macro-F1", "auroc": "AUROC"}
# Below these the test's error rate was not measured (benchmarks/gate_power_paired.py).
MIN_SAMPLES = 100
MIN_SAMPLES_OF_A_LABEL = 5
_MAX_NAMED = 10


def metric_non_inferior(pairs: Pairs, rule: BeatsChampionGate, subject: str, required: Collection[str]) -> Decision:
    """Null hypothesis: the candidate's metric is below the champion's by the margin or more.

    Args:
        pairs: The samples to test on, scored.
        rule: Of the conf file.
        subject: What the samples are, for the condition's name.
        required: Labels that must be among the samples: those that both models know.
    """
    scored = _scored_of(pairs)
    missing = _why_not(scored, required) if pairs.n else "there are none"
    if pairs.n < rule.min_n or missing:
        return _insufficient(pairs, rule, subject, missing or f"the gate asks for {rule.min_n}")
    difference, tie = compare(scored), compare(scored.tie)
    low = difference.lower_bound(rule.level, -rule.margin)
    p_value = difference.p_value(-rule.margin)
    outcome, why = _outcome(rule, difference, tie, low, p_value)
    return Decision(
        gate="beats_champion",
        condition=_condition(rule, subject),
        outcome=outcome,
        statistic=difference.value,
        low=low,
        high=-compare(scored.swapped).lower_bound(rule.level, rule.margin),
        level=rule.level,
        p_value=p_value,
        n=pairs.n,
        threshold=-rule.margin,
        reason=f"{_measured(rule, difference)}; {why}",
        detail=_detail(rule, difference, scored, "non_inferior"),
    )


def metric_superior(pairs: Pairs, rule: BeatsChampionGate, subject: str) -> Decision:
    """Null hypothesis: the candidate's metric is not above the champion's. By accuracy where the samples do not bear the metric.

    Args:
        pairs: The samples to test on, scored.
        rule: Of the conf file.
        subject: What the samples are, for the condition's name.
    """
    scored = _scored_of(pairs)
    missing = _why_not(scored, ()) if pairs.n else ""
    if missing or pairs.n < rule.min_n:
        return _by_accuracy(superior(pairs, rule, f"{subject}, by accuracy"), rule, missing)
    difference = compare(scored)
    p_value = difference.p_value(0.0)
    passed = p_value <= 1 - rule.level
    return Decision(
        gate="beats_champion",
        condition=f"{NAMES[rule.metric]} better than the champion's on {subject}",
        outcome="pass" if passed else "refuse",
        statistic=difference.value,
        level=rule.level,
        p_value=p_value,
        n=pairs.n,
        threshold=0.0,
        reason=f"{_measured(rule, difference)}; by chance alone so much or more would be seen with probability {p_value:.2g}"
        f"{', so it is better' if passed else f', and at most {1 - rule.level:.2g} is asked for'}.",
        detail=_detail(rule, difference, scored, "superior"),
    )


def group_non_inferior(pairs: Pairs, rule: BeatsChampionGate, subject: str) -> Decision:
    """As `metric_non_inferior`, on a domain or slice; by accuracy where its samples do not bear the metric.

    A metric that is not defined there, or that not even equal answers would show, would refuse every candidate.

    Args:
        pairs: The samples to test on, scored, at least one.
        rule: Of the conf file.
        subject: What the samples are, for the condition's name.
    """
    scored = _scored_of(pairs)
    missing = _why_not(scored, ())
    if not missing and rule.margin > 0 and compare(scored.tie).p_value(-rule.margin) > 1 - rule.level:
        missing = "not even equal answers would show it"
    if missing:
        return _by_accuracy(non_inferior(pairs, rule, f"{subject}, by accuracy"), rule, missing)
    return metric_non_inferior(pairs, rule, subject, ())


def _scored_of(pairs: Pairs) -> Scored:
    if pairs.scored is None:
        raise ValueError("the pairs were made for accuracy")
    return pairs.scored


def _why_not(scored: Scored, required: Collection[str]) -> str:
    # Empty where the test can be trusted.
    n = len(scored.targets)
    if n < MIN_SAMPLES:
        return f"{NAMES[scored.metric]} needs {MIN_SAMPLES} samples"
    n_with = scored.n_with
    wanted = (n_with > 0) | np.isin(scored.labels, list(required))
    fewest = n_with if scored.metric == "macro_f1" else np.minimum(n_with, n - n_with)
    rare = [label for label, few in zip(scored.labels, wanted & (fewest < MIN_SAMPLES_OF_A_LABEL), strict=True) if few]
    if rare:
        named = ", ".join(rare[:_MAX_NAMED]) + (f" and {len(rare) - _MAX_NAMED} more" if len(rare) > _MAX_NAMED else "")
        others = "" if scored.metric == "macro_f1" else ", and as many without it"
        return f"{NAMES[scored.metric]} needs {MIN_SAMPLES_OF_A_LABEL} samples of each label{others}, and has fewer of {named}"
    return "" if countable(scored).any() else f"{NAMES[scored.metric]} is not defined on them"


def _outcome(rule: BeatsChampionGate, difference: Difference, tie: Difference, low: float, p_value: float) -> tuple[Outcome, str]:
    limit = points(-rule.margin)
    sure = f"at {percent(rule.level)} confidence the change is {points(low)} or better, and down to {limit} is acceptable"
    if p_value <= 1 - rule.level:
        return "pass", f"{sure}."
    if difference.value < -rule.margin:
        return "refuse", f"{sure}: the candidate lost more than that."
    if rule.margin > 0 and tie.p_value(-rule.margin) > 1 - rule.level:
        return "insufficient_data", f"{sure}; on these samples not even equal answers show it: label more, of the rarest labels above all."
    return "refuse", f"{sure}: what was seen is within the margin, but not surely so. More test samples would tell."


def _insufficient(pairs: Pairs, rule: BeatsChampionGate, subject: str, missing: str) -> Decision:
    return Decision(
        gate="beats_champion",
        condition=_condition(rule, subject),
        outcome="insufficient_data",
        statistic=None,
        level=rule.level,
        n=pairs.n,
        threshold=-rule.margin,
        reason=f"there are {pairs.n} such test samples, and {missing}: label more of them.",
        detail={"test": "non_inferior", "metric": rule.metric, "min_n": rule.min_n},
    )


def _by_accuracy(decision: Decision, rule: BeatsChampionGate, missing: str) -> Decision:
    said = f"{decision.reason} Accuracy is compared here: {missing}." if missing else decision.reason
    return decision.model_copy(update={"reason": said, "detail": decision.detail | {"metric": "accuracy", "instead_of": rule.metric}})


def _condition(rule: BeatsChampionGate, subject: str) -> str:
    return f"{NAMES[rule.metric]} not worse than the champion's by {100 * rule.margin:g} points on {subject}"


def _measured(rule: BeatsChampionGate, difference: Difference) -> str:
    both = f"{percent(difference.candidate)}, the champion's {percent(difference.champion)}, {points(difference.value)}"
    return f"on {difference.n} samples the {NAMES[rule.metric]} is {both}"


def _detail(rule: BeatsChampionGate, difference: Difference, scored: Scored, test: str) -> dict[str, JsonValue]:
    return {
        "test": test,
        "metric": rule.metric,
        f"candidate_{rule.metric}": difference.candidate,
        f"champion_{rule.metric}": difference.champion,
        "n_labels": int(countable(scored).sum()),
    }
