"""The gate `test_reuse`: one test set decides over a limited number of candidates.

Each judged candidate is a look at its test set. Over several looks the errors of the other gates add up (union bound), as in ease.ml/ci
(Renggli et al. 2019, https://arxiv.org/abs/1903.00278), which likewise asks for a new test set after a fixed number of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue, ValidationError

from pipelines.config import SHIPPING_GATES, Gate, TestReuseGate
from pipelines.core.errors import IntegrityError
from pipelines.gates.decision import Decision, Judgement, percent
from pipelines.gates.sample_sketch import SampleSketch, shared_frac

# A test set is mostly another one from this share of its samples on.
MOSTLY_FRAC = 0.5


@dataclass(frozen=True)
class Look:
    """One judgement of the past.

    Attributes:
        bundle_id: Of the candidate.
        test_set: That it was judged on.
        error: Highest probability with which that judgement could promote a candidate that deserved a refusal.
    """

    bundle_id: str
    test_set: SampleSketch
    error: float


@dataclass(frozen=True)
class PastLooks:
    """What a workspace's history holds.

    Attributes:
        looks: Any number, also several of one bundle.
        n_unknown: Candidates that were judged before test sets were recorded.
    """

    looks: tuple[Look, ...] = ()
    n_unknown: int = 0


def past_looks(judgements: Iterable[tuple[str, Mapping[str, JsonValue]]], candidate: str) -> PastLooks:
    """The looks that recorded judgements were.

    Args:
        judgements: Bundle id and judgement, as JSON, of each registered or refused candidate.
        candidate: Bundle id of today's, whose earlier judgements are no looks of others.

    Raises:
        IntegrityError: A judgement is not as it was written.
    """
    looks: list[Look] = []
    unknown: set[str] = set()
    for bundle_id, judgement in judgements:
        if bundle_id == candidate:
            continue
        test_set = judgement.get("test_set")
        if test_set is None:
            unknown.add(bundle_id)
        else:
            looks.append(_look(bundle_id, judgement, test_set))
    return PastLooks(tuple(looks), len(unknown - {look.bundle_id for look in looks}))


def _look(bundle_id: str, judgement: Mapping[str, JsonValue], test_set: JsonValue) -> Look:
    # Refusals carry two names of their own beside the judgement's.
    fields = {name: value for name, value in judgement.items() if name in Judgement.model_fields}
    try:
        return Look(bundle_id, SampleSketch.model_validate(test_set), _error_of(Judgement.model_validate(fields)))
    except ValidationError as error:
        raise IntegrityError(
            got=f"the judgement on the bundle {bundle_id} in git, which cannot be read: {error.errors()[0]['msg']}.",
            allowed="judgements as `regraft retrain` wrote them.",
            next_step="see with `git log -p -- models/refused models/decision.json` who changed it, and put it back.",
        ) from error


def _error_of(judgement: Judgement) -> float:
    # Latency is measured, not read off the test samples.
    levels = [decision.level for decision in judgement.decisions if decision.level is not None and decision.gate != "latency_p95_ms"]
    return max((1 - level for level in levels), default=0.0)


def error_of_one_look(gates: Sequence[Gate]) -> float:
    """Highest probability with which these gates promote a candidate that violates what any one of them demands, in [0, 0.5)."""
    levels = [gate.level for gate in gates if hasattr(gate, "level") and not isinstance(gate, SHIPPING_GATES)]
    return max((1 - level for level in levels), default=0.0)


def spread_error(gates: Sequence[Gate]) -> list[Gate]:
    """Where the conf file says `spread: true`, every test's error is divided by the looks that are allowed (Bonferroni)."""
    limit = next((gate.max_looks for gate in gates if isinstance(gate, TestReuseGate) and gate.spread), 1)
    return [
        gate.model_copy(update={"level": 1 - (1 - gate.level) / limit})
        if hasattr(gate, "level") and not isinstance(gate, SHIPPING_GATES)
        else gate
        for gate in gates
    ]


def limited_looks(rule: TestReuseGate, test_set: SampleSketch, past: PastLooks, error: float) -> Decision:
    """Passes while today's look is one of the first `rule.max_looks` on what is mostly the same test set.

    Args:
        rule: Of the conf file.
        test_set: Today's.
        past: The looks of other candidates.
        error: Of today's look, as `error_of_one_look` says.
    """
    overlaps = _overlaps(test_set, past.looks)
    counted = {bundle: frac for bundle, frac in overlaps.items() if frac >= MOSTLY_FRAC}
    n_looks = len(counted) + 1
    total = min(1.0, error + sum(max(look.error for look in past.looks if look.bundle_id == bundle) for bundle in counted))
    n_missing = _samples_until_next(rule, test_set, list(counted.values()))
    passed = n_looks <= rule.max_looks
    return Decision(
        gate="test_reuse",
        condition=f"at most {rule.max_looks} candidates judged on mostly this test set",
        outcome="pass" if passed else "insufficient_data",
        statistic=float(n_looks),
        n=test_set.n,
        threshold=float(rule.max_looks),
        reason=_reason(n_looks, test_set, total, past.n_unknown) + ("" if passed else f" Label at least {n_missing} new test samples."),
        detail={
            "test": "looks",
            "n_looks": n_looks,
            "n_other_test_sets": len(overlaps) - len(counted),
            "n_unknown": past.n_unknown,
            "error_of_this_look": error,
            "error_of_all_looks": total,
            "new_samples_for_the_next_look": 0 if n_looks < rule.max_looks else n_missing,
            "new_samples_for_a_new_test_set": test_set.n + 1,
        },
    )


def _overlaps(test_set: SampleSketch, looks: Sequence[Look]) -> dict[str, float]:
    # The same bundle judged twice is one look; on two test sets, at the one that is more like today's.
    shares: dict[str, float] = {}
    for look in looks:
        shares[look.bundle_id] = max(shares.get(look.bundle_id, 0.0), shared_frac(test_set, look.test_set))
    return shares


def _samples_until_next(rule: TestReuseGate, test_set: SampleSketch, fracs: list[float]) -> int:
    # Today's look sees all of today's samples. With n new ones the looks whose samples are fewer than half no longer count, and one place
    # must be free among the looks that are allowed.
    seen = sorted([*(frac * test_set.n for frac in fracs), float(test_set.n)], reverse=True)
    return math.floor(seen[min(rule.max_looks, len(seen)) - 1] / MOSTLY_FRAC) + 1 - test_set.n


def _reason(n_looks: int, test_set: SampleSketch, total: float, n_unknown: int) -> str:
    unknown = f" {n_unknown} candidates were judged before test sets were recorded, and are not counted." if n_unknown else ""
    return (
        f"this is candidate number {n_looks} on mostly these {test_set.n} test samples; the chance that any of them was promoted and"
        f" deserved a refusal is {percent(total)} at most.{unknown}"
    )
