"""What was decided about a retraining, and every condition behind it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

Cause = Literal["drift", "degraded", "new_labels", "schedule"]
Action = Literal["retrain", "adapt", "ask_for_labels", "raise_data_quality_alarm", "none"]


class Condition(BaseModel):
    """One condition, whether or not it decided anything.

    Attributes:
        name: For machines.
        value: What was found.
        limit: What is asked for.
        passed: Whether the one is as the other asks.
        problem: Why it did not pass, as the end of a sentence; empty where it passed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    value: str
    limit: str
    passed: bool
    problem: str = ""


class TriggerDecision(BaseModel):
    """What is done, and why.

    Attributes:
        action: `retrain`: on the labelled data. `adapt`: to unlabelled inputs. `ask_for_labels`: there is too little to learn from.
            `raise_data_quality_alarm`: the inputs are broken, so nothing is learned from them. `none`.
        reason: For people; names the first obstacle.
        cause: What called for it, whether or not it starts; None where nothing did.
        conditions: All that were looked at.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    action: Action
    reason: str
    cause: Cause | None
    conditions: tuple[Condition, ...]

    @property
    def starts(self) -> bool:
        """Whether something is trained."""
        return self.action in ("retrain", "adapt")
