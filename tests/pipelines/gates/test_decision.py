"""Decisions and judgements: what is stored is what was decided."""

import json

import pytest
from pydantic import ValidationError

from pipelines.gates.decision import Decision, Judgement, percent, points


def decision(outcome: str, condition: str = "accuracy", reason: str = "because.") -> Decision:
    return Decision.model_validate(
        {
            "gate": "min_metric", "condition": condition, "outcome": outcome, "statistic": 0.95, "low": 0.93, "high": 0.97, "level": 0.95,
            "p_value": 0.01, "n": 500, "threshold": 0.9, "reason": reason, "detail": {"n_correct": 475, "names": ["a"]},
        }
    )  # fmt: skip


def test_json_round_trip() -> None:
    judgement = Judgement.of([decision("pass"), decision("refuse")])
    assert Judgement.model_validate_json(judgement.model_dump_json()) == judgement
    assert Decision.model_validate_json(decision("pass").model_dump_json()) == decision("pass")


@pytest.mark.parametrize(
    ("outcomes", "promote"),
    [
        (["pass"], True),
        (["pass", "pass"], True),
        (["pass", "refuse"], False),
        (["insufficient_data", "pass"], False),
        (["insufficient_data"], False),
    ],
)
def test_only_passes_promote(outcomes: list[str], promote: bool) -> None:
    assert Judgement.of([decision(outcome) for outcome in outcomes]).promote is promote


def test_nothing_is_no_reason_to_promote() -> None:
    with pytest.raises(ValidationError, match="at least 1 item"):
        Judgement.of([])


@pytest.mark.parametrize("outcomes", [["refuse"], ["insufficient_data"], ["pass", "refuse"], ["pass"]])
def test_a_promote_that_was_changed_by_hand_is_refused(outcomes: list[str]) -> None:
    content = json.loads(Judgement.of([decision(outcome) for outcome in outcomes]).model_dump_json())
    content["promote"] = not content["promote"]
    with pytest.raises(ValidationError, match="changed by hand"):
        Judgement.model_validate(content)


def test_the_summary_names_the_first_refusal_and_counts_the_rest() -> None:
    judgement = Judgement.of([decision("insufficient_data", "A", "few."), decision("pass", "B"), decision("refuse", "C", "worse.")])
    assert judgement.summary == "Not promoted: of 3 conditions 1 refused and 1 without enough data. C: worse."
    assert Judgement.of([decision("pass")] * 2).summary == "Promote: all 2 conditions hold."
    assert (
        Judgement.of([decision("insufficient_data", "A", "few.")]).summary == "Not promoted: of 1 conditions 1 without enough data. A: few."
    )


@pytest.mark.parametrize(
    "change", [{"outcome": "maybe"}, {"statistic": float("nan")}, {"extra": 1}, {"p_value": 1.5}, {"n": -1}, {"reason": ""}]
)
def test_impossible_decisions_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="1 validation error"):
        Decision.model_validate(decision("pass").model_dump() | change)


def test_numbers_for_people() -> None:
    assert [percent(value) for value in (0.95, 1.0, 0.0, 0.95126, 0.1)] == ["95 %", "100 %", "0 %", "95.13 %", "10 %"]
    assert [points(value) for value in (-0.01234, 0.02, 0.0)] == ["-1.23 points", "+2.00 points", "+0.00 points"]
