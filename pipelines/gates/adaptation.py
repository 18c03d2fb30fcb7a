"""The gate `adaptation`: what was adapted without labels must be shown to be better, with labels, where it was adapted to.

Adapting can make a model worse, and unlabelled samples cannot tell: losses of DANN and SHOT fall whether or not answers become right.
"""

from __future__ import annotations

import numpy as np

from pipelines.answers import TestAnswers
from pipelines.config import AdaptationGate
from pipelines.gates.decision import Decision, Outcome
from pipelines.gates.paired_conditions import Asked, compare, count, shown_better
from pipelines.plain_training import PlainTraining

CONDITION = "better than plain training on the target domain"


def adaptation(rule: AdaptationGate, candidate: TestAnswers, evidence: PlainTraining | None) -> Decision:
    """Null hypothesis: on the target domain the candidate is not more often right than the model without adaptation. Exact McNemar test.

    Args:
        rule: Of the conf file, or the default where it names none.
        candidate: Its answers on the test split.
        evidence: None where the candidate was not adapted: the gate then asks nothing.

    Raises:
        DataError: The two evaluations are not of the same samples.
    """
    if evidence is None:
        return _untested(rule, "pass", candidate.n, "the candidate was not adapted to unlabelled samples: nothing is asked.")
    chosen = evidence.of_target(candidate)
    n, names = int(chosen.sum()), ", ".join(evidence.domains) or "unknown"
    if evidence.plain.state == "failed":
        return _untested(rule, "insufficient_data", n, f"plain training failed: {evidence.plain.why}")
    if n < rule.min_n:
        why = (
            f"of the domain that was adapted to ({names}) there are {n} labelled test samples and the gate asks for {rule.min_n}: whether"
            " an adaptation helps cannot be told without labels. Label some of its inputs; those that the split puts into test count."
        )
        return _untested(rule, "insufficient_data", n, why)
    if evidence.plain.answers is None:
        return _untested(rule, "refuse", n, "the adaptation left the model as plain training made it: nothing is gained by it.")
    compare(candidate, evidence.plain.answers)  # the same samples with the same labels
    asked = Asked(rule.kind, CONDITION, rule.level, rule.min_n, {"domains": list(evidence.domains)})
    return shown_better(count(candidate.correct[chosen], _in_order(candidate, evidence.plain.answers)[chosen]), asked)


def _in_order(candidate: TestAnswers, plain: TestAnswers) -> np.ndarray:
    """Whether the plain model is right, in the candidate's order of samples."""
    places = {name: place for place, name in enumerate(plain.ids.tolist())}
    return np.asarray(plain.correct[[places[name] for name in candidate.ids.tolist()]])


def _untested(rule: AdaptationGate, outcome: Outcome, n: int, why: str) -> Decision:
    return Decision(gate=rule.kind, condition=CONDITION, outcome=outcome, statistic=None, n=n, reason=why, detail={"test": "none"})
