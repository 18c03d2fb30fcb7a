"""All gates of a conf file on one candidate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from pipelines.answers import TestAnswers
from pipelines.config import SHIPPING_GATES, BeatsChampionGate, Gate, GoldensGate, MinMetricGate
from pipelines.core.errors import ConfigurationError
from pipelines.gates.beats_champion import Champion, beats_champion
from pipelines.gates.decision import Decision, Judgement
from pipelines.gates.goldens import goldens
from pipelines.gates.min_metric import min_metric


def judge(
    gates: Sequence[Gate],
    *,
    candidate: TestAnswers,
    bundle: Path,
    champion: Champion | None,
    champion_error: str | None = None,
    drifted_domains: Sequence[str] = (),
    measured: Mapping[str, Path] = MappingProxyType({}),
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

    Raises:
        ConfigurationError: There is no gate: without a condition nothing may be promoted.
        DataError: The two evaluations are not on the same samples.
    """
    if not gates:
        raise ConfigurationError(got="no gate.", allowed="at least one gate in `gates`.", next_step="declare the gates in the conf file.")
    decisions: list[Decision] = []
    for gate in gates:
        match gate:
            case MinMetricGate():
                decisions.append(min_metric(gate, candidate))
            case BeatsChampionGate():
                decisions.extend(beats_champion(gate, candidate, champion, champion_error=champion_error, drifted_domains=drifted_domains))
            case GoldensGate():
                decisions.append(goldens(gate, bundle))
            case _ if isinstance(gate, SHIPPING_GATES):
                continue
            case _:
                raise ConfigurationError(
                    got=f"a gate of the type {type(gate).__name__}.",
                    allowed="min_metric, beats_champion, goldens.",
                    next_step="correct `gates` in the conf file.",
                )
    return Judgement.of(decisions)
