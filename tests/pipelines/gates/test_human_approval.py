"""A person's answer as a decision."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from pipelines.config import HumanApprovalGate
from pipelines.gates.decision import Decision, Forced, Judgement
from pipelines.gates.human_approval import Answer, human_approval, not_asked

GATE = HumanApprovalGate(kind="human_approval", timeout_minutes=90)
WHEN = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)


def answer(approve: bool, comment: str = "seen on scanner 3") -> Answer:
    return Answer(approve=approve, name=" Ada ", comment=comment, answered_at=WHEN)


@pytest.mark.parametrize(("approve", "outcome", "said"), [(True, "pass", "approved"), (False, "refuse", "refused")])
def test_who_answered_what_when_and_why_is_kept(approve: bool, outcome: str, said: str) -> None:
    decision = human_approval(GATE, answer(approve), "0123456789abcdef")
    assert (decision.gate, decision.outcome, decision.n) == ("human_approval", outcome, 1)
    assert decision.reason == f"Ada {said} on 2026-03-01 09:30 UTC: seen on scanner 3"
    assert decision.detail == {
        "test": "answer",
        "approve": approve,
        "name": " Ada ",
        "comment": "seen on scanner 3",
        "answered_at": "2026-03-01T09:30:00Z",
        "evidence": "0123456789abcdef",
    }
    assert Decision.model_validate_json(decision.model_dump_json()) == decision


def test_an_answer_without_a_comment() -> None:
    assert human_approval(GATE, answer(True, "  "), "e").reason.endswith("UTC, without a comment.")


def test_no_answer_refuses() -> None:
    late = human_approval(GATE, None, "e")
    assert (late.outcome, late.n, late.reason) == ("refuse", 0, "nobody answered within 90 minutes.")
    assert human_approval(GATE, None, "e", "the run was cancelled.").reason == "the run was cancelled."


def test_nobody_is_asked_in_a_forced_run() -> None:
    forced = Forced(reason="now", by="Ada <ada@example.invalid>")
    decision = not_asked(forced)
    assert (decision.outcome, decision.reason) == ("refuse", "nobody was asked: Ada <ada@example.invalid> had forced the run.")
    assert Judgement.of([decision]).forced_by(forced).promote


def test_a_name_of_blanks_is_no_name() -> None:
    with pytest.raises(ValidationError, match="pattern"):
        Answer(approve=True, name="  ", answered_at=WHEN)
