"""What is run for which gate, and what is found before anything is run. tests/pipelines/test_gate_stages.py has the stages themselves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from flows.evidence import measure_for_gates
from flows.learning import Candidate, make_candidate
from flows.session import Session
from pipelines.config import ProjectConfig
from pipelines.core.errors import ConfigurationError
from pipelines.stages import Stages
from pipelines.store import StageOutput
from pipelines.workspace import Workspace
from tests.flows.conftest import project_config


class Steps:
    """Notes the steps instead of running them, and gives each an output."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.ran: list[tuple[str, tuple[object, ...]]] = []

    def __call__(self, name: str, function: Callable[..., object], *args: object) -> StageOutput:
        self.ran.append((name, args))
        return StageOutput(name, "0" * 64, self.root / name, cached=False, seconds=0)


def config(*gates: dict[str, object]) -> ProjectConfig:
    return ProjectConfig.model_validate(project_config("toy").model_dump() | {"gates": gates})


@pytest.fixture
def candidate(tmp_path: Path) -> Candidate:
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "lineage.json").write_text('{"dataset": "0123.dir"}')
    names = ("manifest", "validate", "split", "select", "train", "calibrate", "package", "evaluate")
    outputs = {name: StageOutput(name, "0" * 64, tmp_path / name, cached=False, seconds=0) for name in names}
    return Candidate(tmp_path / "bundle", "0123456789abcdef", outputs)


MEASURED = {
    "negative_transfer": ({"kind": "negative_transfer"}, "baselines"),
    "robustness": ({"kind": "robustness"}, "corrupted"),
    "behaviour": ({"kind": "behaviour"}, "behaviour"),
}


@pytest.mark.parametrize("kind", MEASURED)
def test_a_gate_has_its_stage_run_once(workspace: Workspace, candidate: Candidate, tmp_path: Path, kind: str) -> None:
    gate, step = MEASURED[kind]
    steps = Steps(tmp_path)
    session = Session(workspace, config(gate, {"kind": "goldens"}))
    evidence = measure_for_gates(session, candidate, steps)
    assert evidence.measured == {kind: tmp_path / step}
    assert list(evidence.seconds) == [step]
    ((name, arguments),) = steps.ran
    assert name == step
    assert arguments[1] == session.config.gates[0]


def test_the_baselines_are_made_from_what_made_the_candidate(workspace: Workspace, candidate: Candidate, tmp_path: Path) -> None:
    steps = Steps(tmp_path)
    measure_for_gates(Session(workspace, config(MEASURED["negative_transfer"][0])), candidate, steps)
    dataset, *made_from = steps.ran[0][1][2:]
    assert dataset == "0123.dir"
    assert [output.name for output in made_from if isinstance(output, StageOutput)] == ["split", "select", "train"]


def test_gates_without_a_stage_run_nothing(workspace: Workspace, candidate: Candidate, tmp_path: Path) -> None:
    steps = Steps(tmp_path)
    gates = ({"kind": "goldens"}, {"kind": "licence", "weights": ["MIT"], "data": ["MIT"]}, {"kind": "min_metric", "floor": 0.5})
    evidence = measure_for_gates(Session(workspace, config(*gates)), candidate, steps)
    assert (evidence.measured, evidence.seconds) == ({}, {})
    assert steps.ran == []


def test_a_missing_behaviour_file_stops_a_run_before_its_first_step(workspace: Workspace, tmp_path: Path) -> None:
    steps = Steps(tmp_path)
    with pytest.raises(ConfigurationError, match=r"behaviour whose file behaviour\.yaml does not exist"):
        make_candidate(Stages(workspace, config({"kind": "behaviour"})), "0123.dir", steps)
    assert steps.ran == []
