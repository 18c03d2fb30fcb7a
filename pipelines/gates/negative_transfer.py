"""The gate `negative_transfer`: what the backbone knows is worth it (Wang et al. 2019, https://arxiv.org/abs/1811.09751).

Three conditions, each at the full level; all must pass (intersection-union test, Berger 1982, https://doi.org/10.2307/1267823).
"""

from __future__ import annotations

import numpy as np

from pipelines.answers import TestAnswers
from pipelines.baselines import Baseline, Baselines
from pipelines.config import NegativeTransferGate
from pipelines.gates.decision import Decision, Outcome, percent
from pipelines.gates.paired_conditions import Asked, compare, count, shown_better, shown_not_worse

_SCRATCH = "better than the same architecture trained from scratch"
_MAJORITY = "better than the commonest label of the training split"


def negative_transfer(rule: NegativeTransferGate, candidate: TestAnswers, baselines: Baselines) -> tuple[Decision, ...]:
    """Compares the candidate with what needs less, or no, knowledge from elsewhere.

    Args:
        rule: Of the conf file.
        candidate: Its answers on the test split.
        baselines: Of the same training split, with answers on the same test split.

    Returns:
        One decision each against: the architecture trained from scratch, the commonest label, a probe on the same backbone.

    Raises:
        DataError: A baseline's answers are not of the same samples.
    """
    return (
        _against_scratch(rule, candidate, baselines.scratch),
        _against_majority(rule, candidate, baselines),
        _against_probe(rule, candidate, baselines.probe),
    )


def _against_scratch(rule: NegativeTransferGate, candidate: TestAnswers, scratch: Baseline) -> Decision:
    if scratch.answers is not None:
        return shown_better(compare(candidate, scratch.answers), _asked(rule, _SCRATCH))
    if scratch.state == "same":
        why = "the candidate was itself trained from scratch: nothing was transferred, so nothing is gained by it."
        return _untested(rule, candidate, _SCRATCH, "refuse", why, "same_model")
    return _failed(rule, candidate, _SCRATCH, scratch)


def _against_majority(rule: NegativeTransferGate, candidate: TestAnswers, baselines: Baselines) -> Decision:
    asked = Asked(
        rule.kind,
        _MAJORITY,
        rule.level,
        rule.min_n,
        {"majority": baselines.majority, "majority_frac_of_training": baselines.majority_frac},
    )
    return shown_better(count(candidate.correct, np.asarray(candidate.labels == baselines.majority)), asked)


def _against_probe(rule: NegativeTransferGate, candidate: TestAnswers, probe: Baseline) -> Decision:
    condition = f"not worse than a probe on the same backbone by {100 * rule.margin:g} points"
    if probe.answers is not None:
        return shown_not_worse(compare(candidate, probe.answers), rule.margin, _asked(rule, condition))
    if probe.state == "failed":
        return _failed(rule, candidate, condition, probe)
    if rule.margin > 0:
        why = "the candidate is that probe: the two answer alike, so there is nothing to lose."
        return _untested(rule, candidate, condition, "pass", why, "same_model")
    why = "the candidate is that probe, a tie; with margin: 0 only a candidate that is shown to be better passes."
    return _untested(rule, candidate, condition, "refuse", why, "same_model")


def _asked(rule: NegativeTransferGate, condition: str) -> Asked:
    return Asked(rule.kind, condition, rule.level, rule.min_n, {})


def _failed(rule: NegativeTransferGate, candidate: TestAnswers, condition: str, baseline: Baseline) -> Decision:
    return _untested(rule, candidate, condition, "insufficient_data", f"the baseline could not be trained: {baseline.why}", "no_baseline")


def _untested(rule: NegativeTransferGate, candidate: TestAnswers, condition: str, outcome: Outcome, why: str, test: str) -> Decision:
    accuracy = float(candidate.correct.mean())
    return Decision(
        gate=rule.kind,
        condition=condition,
        outcome=outcome,
        statistic=0.0 if test == "same_model" else None,
        n=candidate.n,
        reason=f"{why} The candidate is right on {percent(accuracy)} of {candidate.n} test samples.",
        detail={"test": test, "accuracy": accuracy},
    )
