"""The gate `human_approval`: a person has looked at the evidence and says yes or no."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from pipelines.config import HumanApprovalGate
from pipelines.gates.decision import Decision, Forced, Outcome

_CONDITION = "a person approves"


class Answer(BaseModel):
    """What a person said.

    Attributes:
        approve: Yes or no.
        name: Who it was, in that person's own words: Prefect's server knows no users.
        comment: Why.
        answered_at: When the answer was given, in UTC.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    approve: bool
    name: Annotated[str, Field(pattern=r"\S")]
    comment: str = ""
    answered_at: datetime


def human_approval(rule: HumanApprovalGate, answer: Answer | None, evidence: str, why_none: str | None = None) -> Decision:
    """A person's word, kept with name, time and comment. No answer is a refusal.

    Args:
        rule: Of the conf file.
        answer: None where nobody answered.
        evidence: Digest of what was shown: the answer is about nothing else.
        why_none: Why there is no answer; by default that the time was over.
    """
    if answer is None:
        return _decision("refuse", 0, why_none or f"nobody answered within {rule.timeout_minutes:g} minutes.", {"evidence": evidence})
    said = "approved" if answer.approve else "refused"
    comment = f": {answer.comment.strip()}" if answer.comment.strip() else ", without a comment."
    detail = answer.model_dump(mode="json") | {"evidence": evidence}
    when = f"{answer.answered_at:%Y-%m-%d %H:%M} UTC"
    return _decision("pass" if answer.approve else "refuse", 1, f"{answer.name.strip()} {said} on {when}{comment}", detail)


def not_asked(forced: Forced) -> Decision:
    """In a run that a person forces nobody is asked: that person's word stands for the answer."""
    return _decision("refuse", 0, f"nobody was asked: {forced.by} had forced the run.", {})


def _decision(outcome: Outcome, n: int, reason: str, detail: dict[str, object]) -> Decision:
    return Decision.model_validate(
        {
            "gate": "human_approval",
            "condition": _CONDITION,
            "outcome": outcome,
            "statistic": None,
            "n": n,
            "reason": reason,
            "detail": {"test": "answer"} | detail,
        }
    )
