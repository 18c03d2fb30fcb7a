"""What a run of the retrain flow leaves behind: one JSON file that the command line, the demo and the reports read."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from pipelines.gates.decision import Forced
from pipelines.workspace import Workspace

Outcome = Literal["promoted", "refused", "unchanged", "skipped", "waiting"]


class Accuracy(BaseModel):
    """A proportion with its 95 % Clopper-Pearson interval; n samples."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: float
    low: float
    high: float
    n: int


class RunRecord(BaseModel):
    """One run of the retrain flow.

    Attributes:
        run: Id of the Prefect flow run.
        trigger: What started it: `person`, `schedule`, `drift`, `labels`, `adapt`.
        outcome: `unchanged`: the candidate is the champion. `skipped`: there was nothing new to learn from.
            `waiting`: for a person's approval; the run's end replaces the record.
        reason: One sentence.
        version: The registered version, where the gates let it through.
        accuracy: Of the candidate on the test split.
        accuracy_by_domain, champion_accuracy_by_domain: The same per domain; the champion's on the same samples.
        baselines: Of what needs no training, on the same samples: `zero_shot`, label names alone; `majority`, the commonest label.
        decisions: The gates', as JSON.
        forced: Who made it champion although gates refused it, and why; None where they did not.
        n_samples: Usable rows of the dataset version that was judged.
        stages_seconds: What each stage took in this run; 0 where it was skipped because its output was there.
        peak_memory_mib: The most memory that the run's process ever had, of the main memory; None where the system does not say.
        reports: Absolute paths of what a person can look at.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: str
    project: str
    trigger: str
    started: datetime
    finished: datetime
    outcome: Outcome
    reason: str
    dataset: str | None = None
    n_samples: int | None = None
    bundle: str | None = None
    version: str | None = None
    champion_before: str | None = None
    accuracy: Accuracy | None = None
    accuracy_by_domain: dict[str, Accuracy] = {}
    champion_accuracy_by_domain: dict[str, Accuracy] = {}
    baselines: dict[str, Accuracy] = {}
    decisions: list[dict[str, Any]] = []
    forced: Forced | None = None
    stages_seconds: dict[str, float] = {}
    peak_memory_mib: float | None = None
    reports: dict[str, str] = {}


def save_record(workspace: Workspace, record: RunRecord) -> Path:
    """Writes the record, in one step, under the run's id."""
    path = workspace.state / "runs" / f"{record.run}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = path.with_suffix(".json.part")
    staging.write_text(record.model_dump_json(indent=2), encoding="utf-8")
    staging.replace(path)
    return path


def read_record(workspace: Workspace, run: str) -> RunRecord | None:
    """The record of a run; None where it has left none so far."""
    path = workspace.state / "runs" / f"{run}.json"
    return RunRecord.model_validate_json(path.read_bytes()) if path.is_file() else None


def read_records(workspace: Workspace, project: str | None = None) -> list[RunRecord]:
    """The records of the workspace, or those of one project in it, the oldest first."""
    paths = (workspace.state / "runs").glob("*.json")
    found = (RunRecord.model_validate_json(path.read_bytes()) for path in paths)
    return sorted((record for record in found if project in (None, record.project)), key=lambda record: record.started)
