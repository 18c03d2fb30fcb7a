"""The gate on made-up answers; tests/pipelines/test_gate_stages.py has a real network that falls apart under noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from pipelines.answers import write_answers
from pipelines.config import RobustnessGate
from pipelines.core.errors import DataError
from pipelines.gates.robustness import robustness

N = 200


def rule(**changes: object) -> RobustnessGate:
    return RobustnessGate.model_validate({"kind": "robustness", "corruptions": ["blur", "noise"], **changes})


@pytest.fixture
def corrupted(answers, tmp_path: Path):
    """The output of the stage, with so many right answers under each corruption."""

    def make(n: int = N, **n_right: int) -> Path:
        for name, count in n_right.items():
            (tmp_path / name).mkdir(exist_ok=True)
            write_answers(answers(np.arange(n) < count), tmp_path / name / "predictions.csv")
        return tmp_path

    return make


def test_each_corruption_has_a_decision_of_its_own(answers, corrupted) -> None:
    blur, noise = robustness(rule(), answers(np.arange(N) < 190), corrupted(blur=188, noise=100))
    assert (blur.outcome, noise.outcome) == ("pass", "refuse")
    assert blur.condition == "blur of severity 2 costs less than 10 points"
    assert noise.statistic == pytest.approx(-0.45)
    assert "190" not in noise.reason
    assert "of 200 samples 0 became right and 90 became wrong, -45.00 points" in noise.reason
    assert noise.detail["corruption"] == "noise"


def test_what_is_gained_elsewhere_does_not_hide_a_loss(answers, corrupted) -> None:
    # 30 become wrong and 10 others right: a loss of 10 points, the whole of what is allowed.
    clean = answers(np.r_[np.ones(150, bool), np.zeros(50, bool)])
    folder = corrupted(noise=0)
    kept, lost, gained = np.ones(120, bool), np.zeros(30, bool), np.ones(10, bool)
    write_answers(answers(np.r_[kept, lost, gained, np.zeros(40, bool)]), folder / "noise" / "predictions.csv")
    (decision,) = robustness(rule(corruptions=["noise"]), clean, folder)
    assert decision.outcome == "refuse"
    assert (decision.detail["n_wins"], decision.detail["n_losses"]) == (10, 30)


def test_few_samples_lack_data(answers, corrupted) -> None:
    folder = corrupted(n=20, noise=20)
    (decision,) = robustness(rule(corruptions=["noise"]), answers([True] * 20), folder)
    assert decision.outcome == "insufficient_data"
    (decision,) = robustness(rule(corruptions=["noise"], min_n=1), answers([True] * 20), folder)
    assert decision.outcome == "insufficient_data"
    assert "not even equal answers" in decision.reason


def test_answers_of_other_samples_are_bad_data(answers, corrupted) -> None:
    with pytest.raises(DataError, match="other ids"):
        robustness(rule(corruptions=["noise"]), answers([True] * 199), corrupted(noise=200))


def test_a_corruption_is_named_once() -> None:
    with pytest.raises(ValidationError, match="corruptions are listed twice: blur"):
        rule(corruptions=["blur", "noise", "blur"])
