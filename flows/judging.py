"""The candidate meets the champion: both judged from their bundles, on the same test samples."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.evidence import looks_so_far, measure_for_gates
from flows.learning import Candidate, RunStep
from flows.promotion import champion_bundle
from flows.session import Session
from pipelines.config import BeatsChampionGate, ProjectConfig
from pipelines.core.bundle import read_manifest
from pipelines.core.errors import IntegrityError, RegraftError
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
        seconds: What each stage took that only gates asked for.
    """

    judgement: Judgement | None
    candidate_evaluation: StageOutput
    champion: ChampionRecord | None
    champion_evaluation: StageOutput | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)

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
    if record is None:
        _refuse_lost_tags(session, candidate)
    if record is not None and record.bundle_id == candidate.bundle_id:
        return Judged(None, candidate.outputs["evaluate"], record)
    evaluation, error = _evaluate_champion(session, record, candidate.outputs["split"], run_step) if record else (None, None)
    champion = _Side(champion_bundle(session, record), evaluation) if record and evaluation else None
    evidence = measure_for_gates(session, candidate, run_step)
    judgement = run_step("gates", _judge, session, candidate, champion, error, trigger, evidence.measured)
    return Judged(judgement, candidate.outputs["evaluate"], record, evaluation, evidence.seconds)


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
        return None, str(error).replace(f"{session.workspace.root}/", "")  # it is kept in git, where a machine's path has no place


def _judge(
    session: Session, candidate: Candidate, champion: _Side | None, error: str | None, trigger: str, measured: Mapping[str, Path]
) -> Judgement:
    from pipelines.answers import read_answers
    from pipelines.gates.beats_champion import Champion
    from pipelines.gates.judge import judge

    kind = session.config.labels_per_sample
    answers = read_answers(candidate.outputs["evaluate"].path / "predictions.csv", kind)
    other = None
    if champion is not None:
        manifest, _ = read_manifest(champion.bundle)
        theirs = read_answers(champion.evaluation.path / "predictions.csv", kind)
        other = Champion(theirs, manifest.labels, manifest.labels_per_sample)
    new = drifted_domains(session.config, champion.bundle, answers.domains.tolist()) if champion and trigger in ("drift", "adapt") else ()
    return judge(
        session.config.gates,
        candidate=answers,
        bundle=candidate.bundle,
        champion=other,
        champion_error=error,
        drifted_domains=new,
        measured=measured,
        past=looks_so_far(session, candidate.bundle_id),
    )


def drifted_domains(config: ProjectConfig, champion: Path, domains: Sequence[str]) -> tuple[str, ...]:
    """After drift, the domains to become better on: those that the champion was not trained on and that have enough test samples.

    Domains are what clients say. One stray name must not block a promotion, so a small one counts only where no other is new; the gate
    then says that the data do not suffice.

    Args:
        config: Its gate `beats_champion` says how many samples are enough.
        champion: Its bundle.
        domains: Of each test sample.
    """
    known = json.loads((champion / "lineage.json").read_bytes())["train_domains"]
    counts = Counter(domain for domain in domains if domain not in known)
    n_enough = max((gate.min_n for gate in config.gates if isinstance(gate, BeatsChampionGate)), default=1)
    return tuple(sorted(domain for domain, n in counts.items() if n >= n_enough) or sorted(counts))


def withdrawn_version(session: Session, bundle_id: str) -> str | None:
    """Why this very bundle may not come back by itself: a person has rolled it back. None where nobody has."""
    from pipelines.versioning import registry

    return withdrawal(registry.history(session.workspace.root, session.config.project), bundle_id)


def withdrawal(history: Sequence[ChampionRecord], bundle_id: str) -> str | None:
    """The sentence that refuses a bundle which was champion until a rollback; without it the next schedule would undo the rollback.

    Args:
        history: In the order of time.
        bundle_id: Of the candidate.
    """
    last = max((place for place, record in enumerate(history) if record.bundle_id == bundle_id), default=None)
    if last is None or last + 1 == len(history) or history[last + 1].kind != "rollback":
        return None
    version, change = history[last].version, history[last + 1]
    return (
        f"Not promoted: this bundle is {version}, which was rolled back on {change.promoted_at:%Y-%m-%d %H:%M} UTC ({change.why}). "
        f"To make it champion again all the same: regraft promote {version} --why ..."
    )


def _refuse_lost_tags(session: Session, candidate: Candidate) -> None:
    """A clone without tags has no champion and would pass as a first run."""
    from pipelines.versioning.model_versions import registered_bundle

    bundle_id = registered_bundle(session.workspace.root)
    if bundle_id is not None and bundle_id != candidate.bundle_id:
        raise IntegrityError(
            got=f"a workspace whose history holds the model {bundle_id} and whose tags name no champion.",
            allowed="the tags that belong to the history: without them nobody can say what the candidate must beat.",
            next_step="run `git fetch --tags`; where a first registration was interrupted, remove models/ from git and retrain.",
        )
