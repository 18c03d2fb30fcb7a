"""The gate `slices`: no group of the test samples is left behind, neither below a floor nor far behind another group.

Every group, and every pair of groups, must pass, each at the full level (intersection-union test, Berger 1982,
https://doi.org/10.2307/1267823): more of them make a promotion harder, never easier, and need no correction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from pipelines.answers import TestAnswers
from pipelines.config import SlicesGate
from pipelines.core.errors import ConfigurationError
from pipelines.core.label_sets import members_of
from pipelines.gates.decision import Decision, Outcome, percent, points
from pipelines.gates.min_metric import samples_without_error
from pipelines.intervals import ProportionInterval, one_sided_bounds
from pipelines.unpaired_exact import GroupCounts, lag_p_value, lag_upper_bound

NO_LABEL = "(no label)"


@dataclass(frozen=True)
class _Groups:
    """The groups of one column, by name."""

    column: str
    large: Mapping[str, GroupCounts]
    small: Mapping[str, GroupCounts]
    n: int
    n_without_value: int


def slices(rule: SlicesGate, answers: TestAnswers) -> tuple[Decision, ...]:
    """Asks each column of `rule.by` for its floor and its largest gap.

    `floor`, null hypothesis: some group's accuracy is below it. `max_gap`, null hypothesis: some two groups' accuracies differ by more.
    A sample whose table says nothing in the column is in no group of it.

    Args:
        rule: Of the conf file.
        answers: The candidate's, on the whole test split.

    Returns:
        One decision for each column and question; all must pass.

    Raises:
        ConfigurationError: A column that there is not.
    """
    decisions = []
    for column in rule.by:
        groups = _groups(rule, answers, column)
        if rule.floor is not None:
            decisions.append(_floor(rule, groups, rule.floor))
        if rule.max_gap is not None:
            decisions.append(_gap(rule, groups, rule.max_gap))
    return tuple(decisions)


def _groups(rule: SlicesGate, answers: TestAnswers, column: str) -> _Groups:
    members = _members(answers, column)
    correct = answers.correct
    counts = {name: GroupCounts(int(correct[rows].sum()), len(rows)) for name, rows in members.items()}
    large = {name: count for name, count in counts.items() if count.n >= rule.min_n}
    small = {name: count for name, count in counts.items() if name not in large}
    n_grouped = len(np.unique(np.concatenate([*members.values(), np.array([], dtype=np.int64)])))
    return _Groups(column, large, small, n_grouped, answers.n - n_grouped)


def _members(answers: TestAnswers, column: str) -> dict[str, NDArray[np.int64]]:
    """Rows of each group, groups sorted by name; where a sample has several labels it is in several groups."""
    if column == "label" and answers.labels_per_sample == "many":
        texts = [members_of(text) or [NO_LABEL] for text in answers.labels.tolist()]
    else:
        texts = [[text] if text else [] for text in _column(answers, column).tolist()]
    rows: dict[str, list[int]] = {name: [] for name in sorted({name for names in texts for name in names})}
    for row, names in enumerate(texts):
        for name in names:
            rows[name].append(row)
    return {name: np.array(found, dtype=np.int64) for name, found in rows.items()}


def _column(answers: TestAnswers, column: str) -> NDArray[np.str_]:
    columns = {"domain": answers.domains, "label": answers.labels, **answers.slices}
    if column not in columns:
        raise ConfigurationError(
            got=f"slices by {column!r}.",
            allowed=f"{', '.join(columns)}: domain, label and the columns that data.slices names.",
            next_step="correct `by` of the gate, or name the column in data.slices, in the conf file.",
        )
    return columns[column]


def _floor(rule: SlicesGate, groups: _Groups, floor: float) -> Decision:
    bounds = {name: one_sided_bounds(count.n_correct, count.n, rule.level) for name, count in groups.large.items()}
    below = {name: bound for name, bound in bounds.items() if bound.low < floor}
    needed = samples_without_error(floor, rule.level)
    # Not even all answers right would have shown it.
    untold = [name for name, bound in below.items() if bound.value >= floor and needed is not None and bound.n < needed]
    refused = [name for name in below if name not in untold]
    worst = min(bounds, key=lambda name: bounds[name].low, default=None)
    outcome, reason = _summed_up(rule, groups, refused, untold, f"an accuracy of at least {percent(floor)}")
    if worst is not None:
        reason = f"{_shown(worst, bounds[worst], rule)}; {reason}"
    return _decision(
        rule,
        groups,
        f"an accuracy of at least {percent(floor)} in every group of {groups.column}",
        outcome,
        reason,
        floor,
        statistic=bounds[worst].value if worst is not None else None,
        low=bounds[worst].low if worst is not None else None,
        p_value=max((_p_value(count, floor) for count in groups.large.values()), default=1.0),
    )


def _shown(name: str, bound: ProportionInterval, rule: SlicesGate) -> str:
    sure = f"at {percent(rule.level)} confidence at least {percent(bound.low)}"
    return f"the lowest bound is that of {name!r}: {percent(bound.value)} of {bound.n} are right, {sure}"


def _p_value(count: GroupCounts, floor: float) -> float:
    from scipy.special import bdtrc

    return float(bdtrc(count.n_correct - 1, count.n, floor))


def _gap(rule: SlicesGate, groups: _Groups, max_gap: float) -> Decision:
    pairs = {(first, second): (groups.large[first], groups.large[second]) for first, second in permutations(groups.large, 2)}
    p_values = {names: lag_p_value(*pair, max_gap, rule.level) for names, pair in pairs.items()}
    above = [names for names, value in p_values.items() if value > 1 - rule.level]
    untold = [names for names in above if _difference(pairs[names]) <= max_gap and _cannot_show(pairs[names], max_gap, rule.level)]
    refused = [names for names in above if names not in untold]
    worst = max(p_values, key=lambda names: (p_values[names], _difference(pairs[names])), default=None)
    high = lag_upper_bound(*pairs[worst], rule.level) if worst is not None else None
    wanted = f"a difference of at most {_points(max_gap)}"
    outcome, reason = _summed_up(rule, groups, [_against(names) for names in refused], [_against(names) for names in untold], wanted)
    if worst is not None and high is not None:
        reason = (
            f"the least sure is {_against(worst)}: {points(_difference(pairs[worst]))}, at {percent(rule.level)} confidence at most "
            f"{points(high)}; {reason}"
        )
    elif len(groups.large) == 1 and not groups.small:
        outcome, reason = "pass", f"there is one group only, {next(iter(groups.large))!r}, and nothing to differ from"
    elif outcome == "pass":
        outcome, reason = "insufficient_data", "fewer than two groups are large enough to be compared"
    return _decision(
        rule,
        groups,
        f"{wanted} between any two groups of {groups.column}",
        outcome,
        reason,
        max_gap,
        statistic=_difference(pairs[worst]) if worst is not None else None,
        high=high,
        p_value=p_values[worst] if worst is not None else None,
    )


def _difference(pair: tuple[GroupCounts, GroupCounts]) -> float:
    return pair[0].share - pair[1].share


def _cannot_show(pair: tuple[GroupCounts, GroupCounts], max_gap: float, level: float) -> bool:
    """Whether even groups of these sizes without a single error would not have shown it."""
    ahead, behind = (GroupCounts(group.n, group.n) for group in pair)
    return lag_p_value(ahead, behind, max_gap, level) > 1 - level


def _against(names: tuple[str, str]) -> str:
    return f"{names[0]!r} against {names[1]!r}"


def _points(difference: float) -> str:
    return f"{100 * difference:g} points"


def _summed_up(rule: SlicesGate, groups: _Groups, refused: Sequence[str], untold: Sequence[str], wanted: str) -> tuple[Outcome, str]:
    small = ", ".join(f"{name!r} ({count.n})" for name, count in groups.small.items())
    about_small = f" Groups with fewer than {rule.min_n} samples: {small}." if small else ""
    if refused:
        return "refuse", f"{wanted} is not shown of {_listed(refused)}.{about_small}"
    if untold:
        return "insufficient_data", f"{_listed(untold)} have too few samples to show {wanted}: label more of them.{about_small}"
    if groups.small and rule.small == "refuse":
        return "insufficient_data", f"some groups are too small to be judged: label more of them.{about_small}"
    if not groups.large:
        return "insufficient_data", f"there is no group to judge.{about_small}"
    return "pass", f"{wanted} is shown of all {len(groups.large)} groups.{about_small}"


def _listed(names: Sequence[str], n_shown: int = 5) -> str:
    shown = ", ".join(names[:n_shown])
    return shown if len(names) <= n_shown else f"{shown} and {len(names) - n_shown} more"


def _decision(
    rule: SlicesGate, groups: _Groups, condition: str, outcome: Outcome, reason: str, threshold: float, **shown: float | None
) -> Decision:
    counts = {name: {"n_correct": count.n_correct, "n": count.n} for name, count in {**groups.large, **groups.small}.items()}
    detail = {"column": groups.column, "groups": counts, "small": list(groups.small), "n_without_value": groups.n_without_value}
    return Decision.model_validate(
        {
            "gate": "slices",
            "condition": condition,
            "outcome": outcome,
            "level": rule.level,
            "n": groups.n,
            "threshold": threshold,
            "reason": reason if reason.endswith(".") else f"{reason}.",
            "detail": {**detail, "min_n": rule.min_n},
            **shown,
        }
    )
