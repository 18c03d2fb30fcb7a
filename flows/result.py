"""How far a run of the retraining got."""

from __future__ import annotations

from dataclasses import dataclass

from flows.judging import Judged
from flows.learning import Candidate
from flows.pending import PendingApproval
from flows.records import RunRecord


@dataclass(frozen=True)
class Result:
    """How far a run got.

    Attributes:
        record: What it leaves behind.
        candidate: None where the run had no need of one.
        card: Text of the model card, where a version was registered.
        question: What a person must answer before the run can go on; None where it is at its end.
        judged: What the decision rests on; None where there is no candidate.
    """

    record: RunRecord
    candidate: Candidate | None = None
    card: str = ""
    question: PendingApproval | None = None
    judged: Judged | None = None
