"""Decisions and judgements: what is stored is what was decided."""

import json

import pytest
from pydantic import ValidationError

from pipelines.gates.decision import UNFORCEABLE, Decision, Forced, Judgement, percent, points

FORCED = Forced(reason="the line stands still.", by="Ada <ada@example.invalid>")


def decision(outcome: str, condition: str = "accuracy", reason: str = "because.", gate: str = "min_metric") -> Decision:
    return Decision.model_validate(
        {
            "gate": gate, "condition": condition, "outcome": outcome, "statistic": 0.95, "low": 0.93, "high": 0.97, "level": 0.95,
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


def test_later_decisions_join_the_judgement() -> None:
    judgement = Judgement.of([decision("pass", "A")])
    assert judgement.with_more([decision("pass", "B")]) == Judgement.of([decision("pass", "A"), decision("pass", "B")])
    assert not judgement.with_more([decision("refuse", "B")]).promote
    assert judgement.with_more([]) == judgement


@pytest.mark.parametrize("outcome", ["refuse", "insufficient_data"])
def test_a_person_can_override_gates_and_stands_for_it(outcome: str) -> None:
    judgement = Judgement.of([decision("pass", "A"), decision(outcome, "B", "worse.")])
    forced = judgement.forced_by(FORCED)
    assert forced.promote
    assert forced.decisions == judgement.decisions, "what gates said stays as they said it"
    assert forced.forced == FORCED
    assert forced.summary.startswith(
        "Forced by Ada <ada@example.invalid>: the line stands still. Without that: Not promoted: of 2 conditions"
    )
    assert Judgement.model_validate_json(forced.model_dump_json()) == forced
    assert forced.with_more([decision("pass", "C")]).forced == FORCED


def test_where_all_pass_nothing_is_forced() -> None:
    judgement = Judgement.of([decision("pass")])
    assert judgement.forced_by(FORCED) is judgement
    assert judgement.forced_by(None) is judgement


def test_goldens_cannot_be_forced() -> None:
    judgement = Judgement.of([decision("refuse", "A"), decision("refuse", "B", gate="goldens")])
    assert {"goldens"} == UNFORCEABLE
    assert not judgement.forceable
    assert judgement.forced_by(FORCED) is judgement
    assert not judgement.promote


@pytest.mark.parametrize(
    "decisions", [[("pass", "min_metric")], [("refuse", "goldens")], [("refuse", "min_metric"), ("refuse", "goldens")]]
)
def test_a_force_that_was_written_by_hand_is_refused(decisions: list[tuple[str, str]]) -> None:
    content = json.loads(Judgement.of([decision(outcome, gate=gate) for outcome, gate in decisions]).model_dump_json())
    content |= {"promote": True, "forced": FORCED.model_dump()}
    with pytest.raises(ValidationError, match="forced may stand only where a gate other than goldens did not pass"):
        Judgement.model_validate(content)


def test_a_force_is_not_taken_back_quietly() -> None:
    content = json.loads(Judgement.of([decision("refuse")]).forced_by(FORCED).model_dump_json())
    for change in ({"forced": None}, {"promote": False}):
        with pytest.raises(ValidationError, match="changed by hand"):
            Judgement.model_validate(content | change)


def test_a_judgement_from_before_there_was_force_still_loads() -> None:
    content = json.loads(Judgement.of([decision("pass")]).model_dump_json())
    del content["forced"]
    assert Judgement.model_validate(content).forced is None


@pytest.mark.parametrize("reason", ["", "  "])
def test_a_force_has_a_reason(reason: str) -> None:
    with pytest.raises(ValidationError, match="pattern"):
        Forced(reason=reason, by="Ada")


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
