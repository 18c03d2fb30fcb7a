"""What some gates rest on besides the two evaluations: each a stage of its own, run only where the conf file has the gate."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from flows.learning import Candidate, RunStep
from flows.session import Session
from flows.tasks import watcher
from pipelines.config import AdaptationGate, AdaptMethod, BehaviourGate, LeakageGate, NegativeTransferGate, RobustnessGate, TestReuseGate
from pipelines.gate_stages import baselines, behaviour, corrupted, plain_training
from pipelines.stages import Stages

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipelines.gates.test_reuse import PastLooks
    from pipelines.store import StageOutput


@dataclass
class Evidence:
    """What gates rest on.

    Attributes:
        measured: Output folders of stages, by the gate's kind.
        seconds: What each step took in this run.
    """

    measured: dict[str, Path] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def add(self, gate: str, name: str, run_step: RunStep, function: Callable[..., StageOutput], *args: object) -> None:
        """Runs a stage as a step; what it is made of may be stages of their own, so the whole step is timed."""
        started = time.monotonic()
        self.measured[gate] = run_step(name, function, *args).path
        self.seconds[name] = round(time.monotonic() - started, 3)


def measure_for_gates(session: Session, candidate: Candidate, run_step: RunStep) -> Evidence:
    """Runs the stages that gates of the conf file rest on.

    Args:
        session: The workspace and its configuration.
        candidate: What is judged.
        run_step: How each stage is run.
    """
    stages = Stages(session.workspace, session.config, watcher())
    outputs = candidate.outputs
    evidence = Evidence()
    for gate in session.config.gates:
        match gate:
            case NegativeTransferGate():
                made_from = (outputs[name] for name in ("split", "select", "train"))
                evidence.add(gate.kind, "baselines", run_step, baselines, stages, gate, _dataset(candidate), *made_from)
            case RobustnessGate():
                evidence.add(gate.kind, "corrupted", run_step, corrupted, stages, gate, candidate.bundle, outputs["split"])
            case BehaviourGate():
                evidence.add(gate.kind, "behaviour", run_step, behaviour, stages, gate, candidate.bundle)
            case AdaptationGate() if isinstance(session.config.method, AdaptMethod):
                made_from = (outputs[name] for name in ("split", "select", "train"))
                method = session.config.method
                evidence.add(gate.kind, "plain training", run_step, plain_training, stages, method, _dataset(candidate), *made_from)
            case LeakageGate():
                evidence.measured[gate.kind] = outputs["near_duplicates"].path
            case _:
                continue
    return evidence


def _dataset(candidate: Candidate) -> str:
    return str(json.loads((candidate.bundle / "lineage.json").read_bytes())["dataset"])


def looks_so_far(session: Session, bundle_id: str) -> PastLooks:
    """The candidates that were judged before this one, where the conf file has the gate that counts them."""
    from pipelines.gates.test_reuse import PastLooks, past_looks
    from pipelines.versioning.past_judgements import past_judgements

    if not any(isinstance(gate, TestReuseGate) for gate in session.config.gates):
        return PastLooks()
    past = past_judgements(session.workspace.root, session.config.project)
    return past_looks([(judged.bundle_id, judged.judgement) for judged in past], bundle_id)
