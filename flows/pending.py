"""What waits for a person's approval: kept in the workspace, so that a run goes on with the very candidate and evidence that it showed.

`.regraft/approvals/RUN.json`, one for each flow run that waits. Nothing of it decides: the answer comes from Prefect, the champion from
the registry, and what is not as it was is judged again.
"""

from __future__ import annotations

import hashlib
import json
import os
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from flows.judging import Judged
from flows.learning import Candidate
from flows.records import RunRecord
from pipelines.config import ProjectConfig
from pipelines.core.bundle import canonical_json, read_manifest
from pipelines.core.errors import IntegrityError
from pipelines.gates.decision import Judgement
from pipelines.store import StageOutput, is_complete
from pipelines.versioning.registry import ChampionRecord
from pipelines.workspace import Workspace


class PendingApproval(BaseModel):
    """A run that waits, with all that it goes on with.

    Attributes:
        record: As published when the person was asked; its outcome is `waiting`.
        deadline: When Prefect ends the wait.
        config: Digest of the configuration that the candidate was judged under.
        outputs: Of the candidate's stages, in their order: by name, where the output lies in the store.
        champion_tag: The registry's, of the champion that the candidate was compared with; None on a first run.
        champion_evaluation: Where it lies in the store; None on a first run, and where the champion could not be read.
        judgement: Of all gates but the person's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    record: RunRecord
    deadline: datetime
    config: str
    outputs: dict[str, str]
    champion_tag: str | None
    champion_evaluation: str | None
    judgement: Judgement

    @property
    def evidence(self) -> str:
        """Digest of what the person is shown; an answer counts for this and for nothing else."""
        content: dict[str, JsonValue] = {
            "bundle": self.record.bundle,
            "dataset": self.record.dataset,
            "champion": self.champion_tag,
            "judgement": self.judgement.model_dump(mode="json"),
        }
        return hashlib.sha256(canonical_json(content)).hexdigest()[:16]

    def candidate(self, workspace: Workspace) -> Candidate | None:
        """The candidate from its stages' outputs; None where one of them is gone or is not as it was."""
        outputs = {name: _kept(workspace, place) for name, place in self.outputs.items()}
        if not all(is_complete(output.path) for output in outputs.values()):
            return None
        bundle = outputs["package"].path / "bundle"
        try:
            bundle_id = read_manifest(bundle)[1]
        except IntegrityError:
            return None
        return Candidate(bundle, bundle_id, outputs) if bundle_id == self.record.bundle else None

    def judged(self, workspace: Workspace, champion: ChampionRecord | None) -> Judged | None:
        """The judgement, where the champion is still the one that the candidate was compared with; else None."""
        if (champion.tag if champion else None) != self.champion_tag:
            return None
        evaluation = _kept(workspace, self.champion_evaluation) if self.champion_evaluation else None
        if evaluation is not None and not is_complete(evaluation.path):
            return None
        return Judged(self.judgement, _kept(workspace, self.outputs["evaluate"]), champion, evaluation)


def config_digest(config: ProjectConfig) -> str:
    """Of a whole configuration: an answer to a question under other gates or other data is none."""
    return hashlib.sha256(canonical_json(config.model_dump(mode="json"))).hexdigest()


def place_in_store(workspace: Workspace, output: StageOutput) -> str:
    """Relative to the store, with forward slashes."""
    return output.path.relative_to(workspace.store).as_posix()


def save_pending(workspace: Workspace, pending: PendingApproval) -> None:
    """Writes it in one step."""
    path = _path(workspace, pending.record.run)
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = path.with_suffix(f".{os.getpid()}.part")
    staging.write_text(pending.model_dump_json(indent=2), encoding="utf-8")
    staging.replace(path)


def read_pending(workspace: Workspace, run: str) -> PendingApproval | None:
    """What the run waits for; None where it does not wait, or where the file is none that this version can read."""
    try:
        return PendingApproval.model_validate(json.loads(_path(workspace, run).read_bytes()))
    except (FileNotFoundError, ValidationError, ValueError):  # judged again
        return None


def all_pending(workspace: Workspace) -> list[PendingApproval]:
    """All runs that wait, the one that began first first."""
    found = (read_pending(workspace, path.stem) for path in _folder(workspace).glob("*.json"))
    return sorted((pending for pending in found if pending is not None), key=lambda pending: pending.record.started)


def forget_pending(workspace: Workspace, run: str) -> None:
    """Once the run's outcome is recorded."""
    _path(workspace, run).unlink(missing_ok=True)


def _kept(workspace: Workspace, place: str) -> StageOutput:
    path = workspace.store / place
    return StageOutput(path.parent.name, path.name, path, cached=True, seconds=0.0)


def _folder(workspace: Workspace) -> Path:
    return workspace.state / "approvals"


def _path(workspace: Workspace, run: str) -> Path:
    return _folder(workspace) / f"{run}.json"
