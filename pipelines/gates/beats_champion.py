"""The gate `beats_champion`: the candidate against the champion, paired on the same test samples.

Every condition must pass, each at the stated level (intersection-union test, Berger 1982, https://doi.org/10.2307/1267823): more conditions
make a promotion harder, never easier, and need no correction. docs/gates.md tells how each case is decided, and why.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.answers import TestAnswers
from pipelines.config import BeatsChampionGate
from pipelines.core.label_sets import LabelsPerSample
from pipelines.gates.decision import Decision
from pipelines.gates.paired_metric_tests import group_non_inferior, metric_non_inferior, metric_superior
from pipelines.gates.paired_tests import non_inferior, not_shown_worse, samples_for_a_tie, superior, worst_of
from pipelines.gates.pairing import Pairs, pair

_ALL = "all test samples"
# Of more small groups in one column than this the decisions show the worst.
_MAX_LISTED = 10


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
    pairs = pair(candidate, champion.answers, champion.labels, champion.labels_per_sample, rule.metric)
    # A label that the champion cannot answer is a sure win: counted, it would hide losses on the labels that both know.
    fair = pairs.where(pairs.known)
    n_new = pairs.n - fair.n
    subject = _ALL if n_new == 0 else f"all test samples with a label that the champion knows ({n_new} have none)"
    decisions = [_overall(fair, rule, subject, champion), *_by_group(fair, rule, fair.domains, _DOMAIN)]
    for column, values in fair.slices.items():
        decisions += _by_group(fair, rule, values, _Names(f"slice {column}", f"slices of {column}"))
    for domain in dict.fromkeys(drifted_domains):
        drifted = pairs.where(pairs.domains == domain)
        decisions.append((superior if rule.metric == "accuracy" else metric_superior)(drifted, rule, f"the drifted domain {domain}"))
    return tuple(decisions)


@dataclass(frozen=True)
class _Names:
    one: str
    many: str


_DOMAIN = _Names("domain", "domains")


def _overall(pairs: Pairs, rule: BeatsChampionGate, subject: str, champion: Champion) -> Decision:
    if rule.metric == "accuracy":
        return non_inferior(pairs, rule, subject)
    return metric_non_inferior(pairs, rule, subject, champion.labels)


def _one_group(pairs: Pairs, rule: BeatsChampionGate, subject: str) -> Decision:
    return (non_inferior if rule.metric == "accuracy" else group_non_inferior)(pairs, rule, subject)


def _by_group(pairs: Pairs, rule: BeatsChampionGate, values: NDArray[np.str_], names: _Names) -> list[Decision]:
    # A sample whose row says nothing belongs to no group, and is tested with all.
    groups, counts = np.unique(values[values != ""], return_counts=True)
    if len(groups) == 0 or counts[0] == pairs.n:  # one group is all samples, which are tested already
        return []
    needed = samples_for_a_domain(rule)
    large = [str(group) for group in groups[counts >= needed]]
    small = [str(group) for group in groups[counts < needed]]
    decisions = [_one_group(pairs.where(values == group), rule, f"the {names.one} {group}") for group in large]
    return decisions + (_small_groups(pairs, rule, values, small, names) if small else [])


def _small_groups(pairs: Pairs, rule: BeatsChampionGate, values: NDArray[np.str_], small: list[str], names: _Names) -> list[Decision]:
    pool = pairs.where(np.isin(values, small))
    needed = samples_for_a_domain(rule)
    decisions = []
    if needed <= pool.n < pairs.n:
        subject = f"the {len(small)} {names.many} with fewer than {needed} samples together ({_listed(small)})"
        decisions.append(_one_group(pool, rule, subject))
    harm = [not_shown_worse(pairs.where(values == group), rule, f"the small {names.one} {group}", len(small)) for group in small]
    return decisions + (harm if len(harm) <= _MAX_LISTED else [worst_of(harm, f"each of the {len(small)} small {names.many}")])


def _listed(groups: list[str]) -> str:
    more = len(groups) - _MAX_LISTED
    return ", ".join(groups[:_MAX_LISTED]) + (f" and {more} more" if more > 0 else "")


def samples_for_a_domain(rule: BeatsChampionGate) -> int:
    """Samples that a domain or slice needs to be tested on its own: with fewer, not even an identical model could pass."""
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
