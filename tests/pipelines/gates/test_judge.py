"""All gates together: order, all reasons at once, and nothing that promotes by accident."""

from pathlib import Path

import numpy as np
import pytest
from pydantic import BaseModel, TypeAdapter

from pipelines.config import BeatsChampionGate, CalibrationGate, Gate, GoldensGate, MinMetricGate, SlicesGate
from pipelines.core.errors import ConfigurationError, DataError
from pipelines.gates.beats_champion import Champion
from pipelines.gates.judge import judge

FLOOR = MinMetricGate(kind="min_metric", floor=0.5)
BEATS = BeatsChampionGate(kind="beats_champion", without_champion="pass")
GOLDENS = GoldensGate(kind="goldens")


@pytest.mark.slow
def test_a_good_candidate_with_a_sound_bundle_is_promoted(answers, sealed_bundle: Path) -> None:
    good, champion = answers(np.arange(450) < 430), Champion(answers(np.arange(450) < 420), ("cat",))
    judgement = judge([GOLDENS, FLOOR, BEATS], candidate=good, bundle=sealed_bundle, champion=champion)
    assert [decision.gate for decision in judgement.decisions] == ["goldens", "min_metric", "beats_champion"]
    assert judgement.promote
    assert judgement.summary == "Promote: all 3 conditions hold."


def test_all_reasons_come_at_once(answers, tmp_path: Path) -> None:
    bad, champion = answers(np.arange(450) < 100), Champion(answers(np.arange(450) < 420), ("cat",))
    judgement = judge([FLOOR, BEATS, GOLDENS], candidate=bad, bundle=tmp_path, champion=champion, drifted_domains=["default"])
    assert [decision.outcome for decision in judgement.decisions] == ["refuse"] * 4
    assert not judgement.promote
    assert judgement.summary.startswith(
        "Not promoted: of 4 conditions 4 refused. accuracy of at least 50 % on all test samples: 100 of 450"
    )


def test_the_champions_error_reaches_the_gate(answers, tmp_path: Path) -> None:
    judgement = judge([BEATS], candidate=answers([True] * 450), bundle=tmp_path, champion=None, champion_error="its files are gone.")
    assert not judgement.promote
    assert "its files are gone." in judgement.summary


def test_no_gate_promotes_nothing(answers, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no gate"):
        judge([], candidate=answers([True] * 450), bundle=tmp_path, champion=None)


def test_an_unknown_gate_promotes_nothing(answers, tmp_path: Path) -> None:
    class NewGate(BaseModel):
        kind: str = "new"

    with pytest.raises(ConfigurationError, match="a gate of the type NewGate"):
        judge([FLOOR, NewGate()], candidate=answers([True] * 450), bundle=tmp_path, champion=None)


def test_an_error_is_not_swallowed(answers, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="different test samples"):
        judge([BEATS], candidate=answers([True] * 450), bundle=tmp_path, champion=Champion(answers([True] * 449), ("cat",)))


@pytest.mark.parametrize("kind", ["negative_transfer", "robustness", "behaviour", "leakage"])
def test_a_gate_whose_stage_was_not_run_promotes_nothing(answers, tmp_path: Path, kind: str) -> None:
    gate: Gate = TypeAdapter(Gate).validate_python({"kind": kind})
    with pytest.raises(ConfigurationError, match=rf"a gate {kind} without the output of the stage.* Next: run that stage first"):
        judge([FLOOR, gate], candidate=answers([True] * 450), bundle=tmp_path, champion=None)


def test_calibration_and_slices_are_asked(answers, tmp_path: Path) -> None:
    gates = [
        CalibrationGate(kind="calibration", max_error=0.5),
        SlicesGate(kind="slices", by=("domain", "label"), floor=0.5),
        MinMetricGate(kind="min_metric", metric="recall", label="cat", floor=0.5),
    ]
    judgement = judge(gates, candidate=answers(np.arange(450) < 430), bundle=tmp_path, champion=None)
    assert [decision.gate for decision in judgement.decisions] == ["calibration", "slices", "slices", "min_metric"]
    assert judgement.promote
