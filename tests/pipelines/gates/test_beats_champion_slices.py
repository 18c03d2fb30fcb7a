"""Named slices: each column as domains are, and no column a wall of refusals."""

from dataclasses import replace

import numpy as np
import pytest

from pipelines.config import BeatsChampionGate
from pipelines.gates.beats_champion import Champion, beats_champion
from pipelines.gates.decision import Decision

RULE = BeatsChampionGate(kind="beats_champion", without_champion="refuse")


@pytest.fixture
def decide(answers, outcome):
    """Decisions by subject for values of one column, each with wins, losses and samples."""

    def of(values: dict[str, tuple[int, int, int]], rule: BeatsChampionGate = RULE) -> dict[str, Decision]:
        parts = [outcome(*counts) for counts in values.values()]
        column = np.repeat(list(values), [counts[2] for counts in values.values()])
        candidate, champion = (
            replace(answers(np.concatenate([part[side] for part in parts])), slices={"scanner": column}) for side in (0, 1)
        )
        decisions = beats_champion(rule, candidate, Champion(champion, ("cat",)))
        assert len({decision.condition for decision in decisions}) == len(decisions)
        return {decision.condition.split(" on ")[1].split(" with ")[0]: decision for decision in decisions}

    return of


def test_a_loss_on_one_slice_is_not_hidden_by_a_gain_on_another(decide) -> None:
    decisions = decide({"old": (2, 20, 200), "new": (80, 0, 600)})
    assert {name: decision.outcome for name, decision in decisions.items()} == {
        "all test samples": "pass", "the slice scanner new": "pass", "the slice scanner old": "refuse",
    }  # fmt: skip


def test_harm_on_a_small_slice_refuses(decide) -> None:
    decisions = decide({"old": (0, 9, 60), "new": (60, 10, 900)})
    assert decisions["all test samples"].outcome == "pass"
    assert decisions["the small slice scanner old"].outcome == "refuse"


def test_small_slices_must_pass_together(decide) -> None:
    decisions = decide({"a": (0, 4, 80), "b": (0, 3, 80), "new": (60, 10, 600)})
    assert decisions["the 2 slices of scanner"].outcome == "refuse"


def test_samples_of_which_the_table_says_nothing_are_tested_with_all(decide) -> None:
    assert list(decide({"": (0, 0, 300), "new": (0, 0, 300)})) == ["all test samples", "the slice scanner new"]
    assert list(decide({"": (0, 0, 300)})) == ["all test samples"]
    assert list(decide({"new": (0, 0, 300)})) == ["all test samples"]


def test_a_column_with_many_values_is_no_wall_of_refusals(decide) -> None:
    """300 patients with 3 samples each, a loss here and there."""
    values = {f"p{number:03}": (number % 29 == 0, number % 31 == 0, 3) for number in range(300)}
    decisions = decide(values)
    assert [decision.outcome for decision in decisions.values()] == ["pass", "pass"]
    worst = decisions["each of the 300 small slices of scanner"]
    assert (worst.n, worst.detail["n_groups"], worst.detail["n_refused"]) == (900, 300, 0)
    assert worst.reason.startswith("a loss beyond the margin is shown on 0 of 300; the worst is the small slice scanner p031:")


def test_harm_on_one_of_many_small_slices_refuses_and_names_it(decide) -> None:
    values = {f"p{number:03}": (2, 0, 30) for number in range(40)} | {"p040": (0, 25, 30)}
    worst = decide(values)["each of the 41 small slices of scanner"]
    assert worst.outcome == "refuse"
    assert "shown on 1 of 41; the worst is the small slice scanner p040" in worst.reason


def test_several_columns_are_tested_each_for_itself(answers, outcome) -> None:
    right, other = outcome(4, 4, 600)
    halves, thirds = np.repeat(["a", "b"], 300), np.repeat(["x", "y", "z"], 200)
    candidate, champion = (replace(answers(part), slices={"hospital": halves, "scanner": thirds}) for part in (right, other))
    subjects = [decision.condition.split(" on ")[1] for decision in beats_champion(RULE, candidate, Champion(champion, ("cat",)))]
    assert subjects == [
        "all test samples",
        *(f"the slice hospital {name}" for name in "ab"),
        *(f"the slice scanner {name}" for name in "xyz"),
    ]
