"""The candidate meets the champion: both judged from their bundles, on the same test samples."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.learning import Candidate, RunStep
from flows.promotion import champion_bundle
from flows.session import Session
from pipelines.core.bundle import read_manifest
from pipelines.core.errors import RegraftError
from pipelines.stages import Stages
from pipelines.store import StageOutput

if TYPE_CHECKING:
    from pipelines.gates.decision import Judgement
    from pipelines.versioning.registry import ChampionRecord


@dataclass(frozen=True)
class Judged:
    """A judgement with the two evaluations it rests on.

    Attributes:
        judgement: None where the candidate is the very bundle that is champion: there is nothing to decide.
        champion: Who was champion; None on a first run.
        champion_evaluation: None on a first run, and where the champion could not be read.
    """

    judgement: Judgement | None
    candidate_evaluation: StageOutput
    champion: ChampionRecord | None
    champion_evaluation: StageOutput | None = None

    @property
    def champion_version(self) -> str | None:
        """The version that the candidate was compared with."""
        return self.champion.version if self.champion else None

    def as_record(self) -> dict[str, Any]:
        """The fields of a `RunRecord`."""
        evaluation = read_evaluation(self.candidate_evaluation)
        return {
            "champion_before": self.champion_version,
            "accuracy": evaluation["accuracy"],
            "accuracy_by_domain": evaluation["accuracy_by_domain"],
            "champion_accuracy_by_domain": read_evaluation(self.champion_evaluation)["accuracy_by_domain"]
            if self.champion_evaluation
            else {},
            "decisions": [decision.model_dump(mode="json") for decision in self.judgement.decisions] if self.judgement else [],
        }


def judge_candidate(session: Session, candidate: Candidate, trigger: str, run_step: RunStep) -> Judged:
    """Runs the gates on the candidate and the champion of now."""
    from pipelines.versioning import registry

    record = registry.champion(session.workspace.root, session.config.project)
    if record is not None and record.bundle_id == candidate.bundle_id:
        return Judged(None, candidate.outputs["evaluate"], record)
    evaluation, error = _evaluate_champion(session, record, candidate.outputs["split"], run_step) if record else (None, None)
    champion = _Side(champion_bundle(session, record), evaluation) if record and evaluation else None
    judgement = run_step("gates", _judge, session, candidate, champion, error, trigger)
    return Judged(judgement, candidate.outputs["evaluate"], record, evaluation)


def read_evaluation(output: StageOutput) -> dict[str, Any]:
    """`evaluation.json` of a stage `evaluate`."""
    content: dict[str, Any] = json.loads((output.path / "evaluation.json").read_bytes())
    return content


@dataclass(frozen=True)
class _Side:
    bundle: Path
    evaluation: StageOutput


def _evaluate_champion(
    session: Session, record: ChampionRecord, split: StageOutput, run_step: RunStep
) -> tuple[StageOutput | None, str | None]:
    """A champion that cannot be read is an error that the gate must hear of: it never counts as missing."""
    try:
        bundle = run_step("fetch champion", champion_bundle, session, record)
        return run_step("evaluate champion", Stages(session.workspace, session.config).evaluate, bundle, split), None
    except RegraftError as error:
        return None, str(error)


def _judge(session: Session, candidate: Candidate, champion: _Side | None, error: str | None, trigger: str) -> Judgement:
    from pipelines.answers import read_answers
    from pipelines.gates.beats_champion import Champion
    from pipelines.gates.judge import judge

    answers = read_answers(candidate.outputs["evaluate"].path / "predictions.csv")
    other = None
    if champion is not None:
        labels = read_manifest(champion.bundle)[0].labels
        other = Champion(read_answers(champion.evaluation.path / "predictions.csv"), labels)
    new = _new_domains(champion.bundle, answers.domains.tolist()) if champion and trigger == "drift" else ()
    return judge(
        session.config.gates, candidate=answers, bundle=candidate.bundle, champion=other, champion_error=error, drifted_domains=new
    )


def _new_domains(champion: Path, domains: Sequence[str]) -> tuple[str, ...]:
    """The domains of the test split that the champion was not trained on: after drift, the ones to become better on."""
    known = json.loads((champion / "lineage.json").read_bytes())["train_domains"]
    return tuple(sorted(set(domains) - known.keys()))
