"""What a gate says, and what all of them say together; both are stored as JSON beside the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

GateKind = Literal[
    "min_metric",
    "beats_champion",
    "negative_transfer",
    "calibration",
    "slices",
    "robustness",
    "behaviour",
    "leakage",
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
        n: Samples, or goldens, that the condition was tested on.
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


class Judgement(BaseModel):
    """All decisions on one candidate.

    Attributes:
        decisions: In the order of the conf file, at least one.
        promote: Whether every one of them passed. Nothing else promotes.
        summary: A sentence for people.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    decisions: Annotated[tuple[Decision, ...], Field(min_length=1)]
    promote: bool
    summary: str

    @model_validator(mode="after")
    def _promote_means_all_pass(self) -> Judgement:
        if self.promote != all(decision.outcome == "pass" for decision in self.decisions):
            raise ValueError("promote must be true exactly where every decision passed: the file was changed by hand")
        return self

    @classmethod
    def of(cls, decisions: Sequence[Decision]) -> Judgement:
        """The judgement that follows from `decisions`, at least one."""
        return cls(
            decisions=tuple(decisions), promote=all(decision.outcome == "pass" for decision in decisions), summary=_summary(decisions)
        )


def _summary(decisions: Sequence[Decision]) -> str:
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
