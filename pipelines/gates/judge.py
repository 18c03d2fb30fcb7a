"""All gates of a conf file on one candidate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from pipelines.answers import TestAnswers
from pipelines.baselines import read_baselines
from pipelines.config import (
    SHIPPING_GATES,
    AdaptationGate,
    BeatsChampionGate,
    BehaviourGate,
    CalibrationGate,
    Gate,
    GoldensGate,
    LeakageGate,
    LicenceGate,
    MinMetricGate,
    NegativeTransferGate,
    RobustnessGate,
    SlicesGate,
    TestReuseGate,
)
from pipelines.core.errors import ConfigurationError
from pipelines.gates.adaptation import adaptation
from pipelines.gates.beats_champion import Champion, beats_champion
from pipelines.gates.behaviour import behaviour
from pipelines.gates.calibration import calibration
from pipelines.gates.decision import Decision, Judgement
from pipelines.gates.goldens import goldens
from pipelines.gates.leakage import leakage
from pipelines.gates.licence import licence
from pipelines.gates.min_metric import min_metric
from pipelines.gates.negative_transfer import negative_transfer
from pipelines.gates.robustness import robustness
from pipelines.gates.sample_sketch import sketch_of
from pipelines.gates.slices import slices
from pipelines.gates.test_reuse import PastLooks, error_of_one_look, limited_looks, spread_error
from pipelines.plain_training import read_plain_training

_NO_LOOKS = PastLooks()


def judge(
    gates: Sequence[Gate],
    *,
    candidate: TestAnswers,
    bundle: Path,
    champion: Champion | None,
    champion_error: str | None = None,
    drifted_domains: Sequence[str] = (),
    measured: Mapping[str, Path] = MappingProxyType({}),
    past: PastLooks = _NO_LOOKS,
) -> Judgement:
    """Asks every gate, in the order of the conf file, also after a refusal: a reader wants all reasons at once.

    Those on the served Bento (`SHIPPING_GATES`) are asked later, and only where all of these pass.

    An error that is no decision is raised, and nothing is promoted.

    Args:
        gates: At least one.
        candidate: Answers of the sealed bundle on the test split.
        bundle: The sealed bundle itself.
        champion: None where none was promoted yet, or where it could not be evaluated.
        champion_error: Why the champion could not be evaluated.
        drifted_domains: Where drift began the run: the domains on which the candidate must be better.
        measured: Output folders of the stages that some gates rest on, by the gate's kind.
        past: Other candidates that were judged before; the gate `test_reuse` counts them.

    Raises:
        ConfigurationError: There is no gate: without a condition nothing may be promoted. Or a stage that a gate rests on was not run.
        DataError: The two evaluations are not on the same samples.
    """
    if not gates:
        raise ConfigurationError(got="no gate.", allowed="at least one gate in `gates`.", next_step="declare the gates in the conf file.")
    # Those on the served Bento come later.
    asked = [gate for gate in spread_error(gates) if not isinstance(gate, SHIPPING_GATES)]
    error = error_of_one_look(asked)
    facts = _Facts(candidate, bundle, champion, champion_error, drifted_domains, measured, past, error)
    return Judgement.of([decision for gate in asked for decision in _decide(gate, facts)], test_set=sketch_of(candidate.ids.tolist()))


@dataclass(frozen=True)
class _Facts:
    """What is judged, as `judge` was given it."""

    candidate: TestAnswers
    bundle: Path
    champion: Champion | None
    champion_error: str | None
    drifted_domains: Sequence[str]
    measured: Mapping[str, Path]
    past: PastLooks
    error_of_one_look: float

    def output_for(self, gate: Gate) -> Path:
        """The folder of the stage that a gate rests on."""
        if gate.kind not in self.measured:
            raise ConfigurationError(
                got=f"a gate {gate.kind} without the output of the stage that it rests on.",
                allowed="`measured` with a folder for it, as flows/evidence.py gathers.",
                next_step="run that stage first, or judge with `regraft retrain`.",
            )
        return self.measured[gate.kind]


def _decide(gate: Gate, facts: _Facts) -> Sequence[Decision]:
    match gate:
        case MinMetricGate():
            return (min_metric(gate, facts.candidate),)
        case CalibrationGate():
            return (calibration(gate, facts.candidate),)
        case SlicesGate():
            return slices(gate, facts.candidate)
        case BeatsChampionGate():
            error, domains = facts.champion_error, facts.drifted_domains
            return beats_champion(gate, facts.candidate, facts.champion, champion_error=error, drifted_domains=domains)
        case LicenceGate():
            return licence(gate, facts.bundle)
        case TestReuseGate():
            return (limited_looks(gate, sketch_of(facts.candidate.ids.tolist()), facts.past, facts.error_of_one_look),)
        case GoldensGate():
            return (goldens(gate, facts.bundle),)
        case _:
            return _decide_by_output(gate, facts)


def _decide_by_output(gate: Gate, facts: _Facts) -> Sequence[Decision]:
    """Of the gates that rest on the output of a stage of their own."""
    match gate:
        case NegativeTransferGate():
            return negative_transfer(gate, facts.candidate, read_baselines(facts.output_for(gate), facts.candidate.labels_per_sample))
        case RobustnessGate():
            return robustness(gate, facts.candidate, facts.output_for(gate))
        case BehaviourGate():
            return behaviour(gate, facts.output_for(gate))
        case AdaptationGate():
            folder = facts.measured.get(gate.kind)
            evidence = None if folder is None else read_plain_training(folder, facts.candidate.labels_per_sample)
            return (adaptation(gate, facts.candidate, evidence),)
        case LeakageGate():
            return (leakage(gate, facts.output_for(gate)),)
        case _:
            raise ConfigurationError(
                got=f"a gate of the type {type(gate).__name__}.",
                allowed="the gates that docs/gates.md lists.",
                next_step="correct `gates` in the conf file.",
            )
