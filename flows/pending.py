"""What waits for a person's approval: kept in the workspace, so that a run goes on with the very candidate and evidence that it showed.

`.regraft/approvals/RUN.json`, one for each flow run that waits. Nothing of it decides: the answer comes from Prefect, the champion from
the registry, and what is not as it was is judged again.
"""

from __future__ import annotations

import hashlib
from datetime import datetime

from pydantic import BaseModel, ConfigDict, JsonValue

from flows.judging import Judged
from flows.kept_candidate import kept_candidate, kept_output
from flows.kept_runs import KeptRuns
from flows.learning import Candidate
from flows.records import RunRecord
from pipelines.config import ProjectConfig
from pipelines.core.bundle import canonical_json
from pipelines.gates.decision import Judgement
from pipelines.store import is_complete
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
        return kept_candidate(workspace, self.outputs, self.record.bundle)

    def judged(self, workspace: Workspace, champion: ChampionRecord | None) -> Judged | None:
        """The judgement, where the champion is still the one that the candidate was compared with; else None."""
        if (champion.tag if champion else None) != self.champion_tag:
            return None
        evaluation = kept_output(workspace, self.champion_evaluation) if self.champion_evaluation else None
        if evaluation is not None and not is_complete(evaluation.path):
            return None
        return Judged(self.judgement, kept_output(workspace, self.outputs["evaluate"]), champion, evaluation)


def config_digest(config: ProjectConfig) -> str:
    """Of a whole configuration: an answer to a question under other gates or other data is none."""
    return hashlib.sha256(canonical_json(config.model_dump(mode="json"))).hexdigest()


_KEPT = KeptRuns("approvals", PendingApproval)


def save_pending(workspace: Workspace, pending: PendingApproval) -> None:
    """Writes it in one step."""
    _KEPT.save(workspace, pending.record.run, pending)


def read_pending(workspace: Workspace, run: str) -> PendingApproval | None:
    """What the run waits for; None where it does not wait, or where the file is none that this version can read: it is judged again."""
    return _KEPT.read(workspace, run)


def all_pending(workspace: Workspace) -> list[PendingApproval]:
    """All runs that wait, the one that began first first."""
    return sorted(_KEPT.all(workspace), key=lambda pending: pending.record.started)


def forget_pending(workspace: Workspace, run: str) -> None:
    """Once the run's outcome is recorded."""
    _KEPT.forget(workspace, run)
