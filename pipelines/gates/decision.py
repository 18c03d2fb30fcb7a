"""What a gate says, and what all of them say together; both are stored as JSON beside the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from pipelines.gates.sample_sketch import SampleSketch

GateKind = Literal[
    "min_metric",
    "beats_champion",
    "negative_transfer",
    "calibration",
    "slices",
    "robustness",
    "behaviour",
    "leakage",
    "adaptation",
    "licence",
    "test_reuse",
    "goldens",
    "bundle_mb",
    "latency_p95_ms",
    "human_approval",
]
Outcome = Literal["pass", "refuse", "insufficient_data"]
Number = Annotated[float, Field(allow_inf_nan=False)]
Probability = Annotated[float, Field(ge=0, le=1)]
# A bundle that does not answer as stored is not the model that was judged, so nobody can know what forcing it would ship.
UNFORCEABLE: frozenset[GateKind] = frozenset({"goldens"})


class Decision(BaseModel):
    """One condition of one gate, with its statistics.

    Attributes:
        gate: The kind of the gate in the conf file.
        condition: What was asked, in a few words; each condition of a run is named differently.
        outcome: Only `pass` lets a candidate through.
        statistic: What was measured: an accuracy, or a difference of two; None where nothing could be.
        low, high: One-sided confidence bounds of the statistic, each at `level`; None where the condition has none.
        level: Of the one-sided test: a candidate that does not fulfil the condition passes with probability 1 - level at most.
        p_value: Of the null hypothesis that the condition does not hold.
        n: Samples, goldens, requests or files that the condition was tested on; 1 where a person was asked.
        threshold: What the statistic, or its bound, was compared with.
        reason: A sentence for people.
        detail: Counts and names behind it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    gate: GateKind
    condition: Annotated[str, Field(min_length=1)]
    outcome: Outcome
    statistic: Number | None
    low: Number | None = None
    high: Number | None = None
    level: Probability | None = None
    p_value: Probability | None = None
    n: Annotated[int, Field(ge=0)]
    threshold: Number | None = None
    reason: Annotated[str, Field(min_length=1)]
    detail: dict[str, JsonValue] = {}


class Forced(BaseModel):
    """A person's word that a candidate ships although gates refused it, or could not decide.

    Attributes:
        reason: In that person's words.
        by: `Name <email>`, the git identity under which the run was started.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    reason: Annotated[str, Field(pattern=r"\S")]
    by: Annotated[str, Field(min_length=1)]


class Judgement(BaseModel):
    """All decisions on one candidate.

    Attributes:
        decisions: In the order of the conf file, those on the served Bento after all others; at least one. What a person forced stays here
            as the gates said it.
        promote: Whether every one of them passed, or a person forced what did not. Nothing else promotes.
        summary: A sentence for people.
        forced: Who overrode the gates, and why; None where nothing was overridden.
        test_set: What identifies the test samples that the candidate was judged on (`test_reuse` counts such looks); None in judgements
            from before it was kept.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    decisions: Annotated[tuple[Decision, ...], Field(min_length=1)]
    promote: bool
    summary: str
    forced: Forced | None = None
    test_set: SampleSketch | None = None

    @model_validator(mode="after")
    def _promote_means_all_pass(self) -> Judgement:
        if self.forced is not None and not self.forceable:
            raise ValueError(f"forced may stand only where a gate other than {', '.join(sorted(UNFORCEABLE))} did not pass")
        if self.promote != (self.all_pass or self.forced is not None):
            raise ValueError("promote must be true exactly where every decision passed or a person forced it: the file was changed by hand")
        return self

    @classmethod
    def of(cls, decisions: Sequence[Decision], forced: Forced | None = None, test_set: SampleSketch | None = None) -> Judgement:
        """The judgement that follows from `decisions`, at least one, on the samples of `test_set`, and from who overrides them."""
        promote = forced is not None or all(decision.outcome == "pass" for decision in decisions)
        return cls(decisions=tuple(decisions), promote=promote, summary=_summary(decisions, forced), forced=forced, test_set=test_set)

    def with_more(self, decisions: Sequence[Decision]) -> Judgement:
        """The judgement with decisions that were made later: on the served Bento, and by a person."""
        return Judgement.of((*self.decisions, *decisions), self.forced, self.test_set)

    def forced_by(self, forced: Forced | None) -> Judgement:
        """The judgement that a person overrides; unchanged where there is nothing to override or nothing that may be."""
        return Judgement.of(self.decisions, forced, self.test_set) if forced is not None and self.forceable else self

    @property
    def all_pass(self) -> bool:
        """Whether every gate let the candidate through."""
        return all(decision.outcome == "pass" for decision in self.decisions)

    @property
    def forceable(self) -> bool:
        """Whether some gate did not pass, and a person may override each that did not."""
        failed = {decision.gate for decision in self.decisions if decision.outcome != "pass"}
        return bool(failed) and not failed & UNFORCEABLE


def _summary(decisions: Sequence[Decision], forced: Forced | None) -> str:
    said = _what_gates_say(decisions)
    # First who and why: a tag's subject and a table's row show the beginning only.
    return f"Forced by {forced.by}: {forced.reason.strip().rstrip('.')}. Without that: {said}" if forced else said


def _what_gates_say(decisions: Sequence[Decision]) -> str:
    failed = [decision for decision in decisions if decision.outcome != "pass"]
    if not failed:
        return f"Promote: all {len(decisions)} conditions hold."
    # A refusal says more than missing data does, so it comes first.
    failed.sort(key=lambda decision: decision.outcome != "refuse")
    refused = sum(decision.outcome == "refuse" for decision in failed)
    parts = [f"{refused} refused"] * bool(refused) + [f"{len(failed) - refused} without enough data"] * (refused < len(failed))
    return f"Not promoted: of {len(decisions)} conditions {' and '.join(parts)}. {failed[0].condition}: {failed[0].reason}"


def percent(fraction: float) -> str:
    """`0.95125` as `95.13 %`, `0.95` as `95 %`."""
    return f"{100 * fraction:.2f}".rstrip("0").rstrip(".") + " %"


def points(difference: float) -> str:
    """`-0.01234` as `-1.23 points`, of percentages."""
    return f"{100 * difference:+.2f} points"
