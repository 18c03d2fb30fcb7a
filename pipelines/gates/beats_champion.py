"""The gate `beats_champion`: the candidate against the champion, paired on the same test samples.

Every condition must pass, each at the stated level (intersection-union test, Berger 1982, https://doi.org/10.2307/1267823): more conditions
make a promotion harder, never easier, and need no correction. docs/gates.md tells how each case is decided, and why.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.answers import TestAnswers
from pipelines.config import BeatsChampionGate
from pipelines.core.label_sets import LabelsPerSample
from pipelines.gates.decision import Decision
from pipelines.gates.paired_tests import non_inferior, not_shown_worse, samples_for_a_tie, superior
from pipelines.gates.pairing import Pairs, pair

_ALL = "all test samples"


@dataclass(frozen=True)
class Champion:
    """The model in production.

    Attributes:
        answers: On the candidate's test samples.
        labels: All that it can answer, from its manifest.
        labels_per_sample: `many`: it can answer any set of them.
    """

    answers: TestAnswers
    labels: tuple[str, ...]
    labels_per_sample: LabelsPerSample = "one"


def beats_champion(
    rule: BeatsChampionGate,
    candidate: TestAnswers,
    champion: Champion | None,
    *,
    champion_error: str | None = None,
    drifted_domains: Sequence[str] = (),
) -> tuple[Decision, ...]:
    """Compares the candidate with the champion.

    Args:
        rule: Of the conf file.
        candidate: Its answers on the test split.
        champion: None where none was promoted yet, or where it could not be evaluated.
        champion_error: Why the champion could not be evaluated; refuses.
        drifted_domains: Where drift began the run: the domains on which the candidate must be better. Else empty.

    Returns:
        One decision for each condition, at least one; all must pass.

    Raises:
        DataError: The two evaluations are not on the same samples.
    """
    if champion_error is not None:
        return (_unreadable(rule, candidate, champion_error),)
    if champion is None:
        return (_first_run(rule, candidate),)
    pairs = pair(candidate, champion.answers, champion.labels, champion.labels_per_sample)
    # A label that the champion cannot answer is a sure win: counted, it would hide losses on the labels that both know.
    fair = pairs.where(pairs.known)
    n_new = pairs.n - fair.n
    subject = _ALL if n_new == 0 else f"all test samples with a label that the champion knows ({n_new} have none)"
    decisions = [non_inferior(fair, rule, subject), *_by_domain(fair, rule)]
    for domain in dict.fromkeys(drifted_domains):
        decisions.append(superior(pairs.where(pairs.domains == domain), rule, f"the drifted domain {domain}"))
    return tuple(decisions)


def _by_domain(pairs: Pairs, rule: BeatsChampionGate) -> list[Decision]:
    names, counts = np.unique(pairs.domains, return_counts=True)
    if len(names) < 2:  # one domain is all samples, which are tested already
        return []
    needed = samples_for_a_domain(rule)
    large = [str(name) for name in names[counts >= needed]]
    small = [str(name) for name in names[counts < needed]]
    decisions = [non_inferior(pairs.where(pairs.domains == name), rule, f"the domain {name}") for name in large]
    return decisions + _small_domains(pairs, rule, small, needed)


def _small_domains(pairs: Pairs, rule: BeatsChampionGate, small: list[str], needed: int) -> list[Decision]:
    pool = pairs.where(np.isin(pairs.domains, small))
    decisions = []
    if needed <= pool.n < pairs.n:
        decisions.append(
            non_inferior(pool, rule, f"the {len(small)} domains with fewer than {needed} samples together ({', '.join(small)})")
        )
    for name in small:
        decisions.append(not_shown_worse(pairs.where(pairs.domains == name), rule, f"the small domain {name}", len(small)))
    return decisions


def samples_for_a_domain(rule: BeatsChampionGate) -> int:
    """Samples that a domain needs to be tested on its own: with fewer, not even an identical model could pass."""
    return max(rule.min_n, samples_for_a_tie(rule) or 0)


def _unreadable(rule: BeatsChampionGate, candidate: TestAnswers, error: str) -> Decision:
    return Decision(
        gate="beats_champion",
        condition="the champion can be evaluated",
        outcome="refuse",
        statistic=None,
        level=rule.level,
        n=candidate.n,
        reason=f"the champion could not be evaluated, so nothing shows that the candidate is as good: {error}",
        detail={"test": "champion_readable"},
    )


def _first_run(rule: BeatsChampionGate, candidate: TestAnswers) -> Decision:
    return Decision(
        gate="beats_champion",
        condition="there is no champion yet",
        outcome=rule.without_champion,
        statistic=None,
        level=rule.level,
        n=candidate.n,
        reason=f"no model was promoted yet, and the conf file says without_champion: {rule.without_champion}.",
        detail={"test": "first_run"},
    )
