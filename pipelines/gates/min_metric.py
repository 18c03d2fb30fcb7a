"""The gate `min_metric`: a metric of the candidate on the test split clears a floor, with confidence."""

from __future__ import annotations

import math

import numpy as np

from pipelines.answers import TestAnswers
from pipelines.config import MinMetricGate
from pipelines.core.errors import ConfigurationError
from pipelines.gates.decision import Decision, Outcome, percent
from pipelines.gates.label_losses import LabelLoss, all_labels, auroc_loss, label_matrix, macro_f1_loss, probabilities_of
from pipelines.intervals import ProportionInterval, one_sided_bounds
from pipelines.mean_bounds import p_value, upper_bound

# Of each label, for a mean over labels; the error rate was measured down to there.
MIN_N_OF_A_LABEL = 5


def min_metric(rule: MinMetricGate, answers: TestAnswers) -> Decision:
    """Null hypothesis: the true metric is below the floor.

    Passes where the one-sided lower bound at `rule.level` is the floor or more. The bound of `accuracy` and of a label's `recall` is that
    of Clopper and Pearson: a candidate below the floor passes with probability `1 - rule.level` at most, at every n. That of `macro_f1` and
    `auroc` is `pipelines.mean_bounds`, whose error stays within that rate wherever it was measured (docs/gates.md).

    Args:
        rule: Of the conf file.
        answers: The candidate's, on the whole test split.

    Raises:
        ConfigurationError: The label whose recall is asked for is none of the candidate's.
        DataError: AUROC of an evaluation without probabilities.
    """
    if rule.metric == "accuracy":
        return _of_counts(rule, int(answers.correct.sum()), answers.n, "accuracy", "all test samples", "test samples")
    if rule.metric == "recall":
        return _recall(rule, answers)
    return _of_labels(rule, answers)


def _recall(rule: MinMetricGate, answers: TestAnswers) -> Decision:
    names = all_labels(answers)
    label = rule.label or ""
    if label not in names:
        raise ConfigurationError(
            got=f"min_metric with the recall of {label!r}.",
            allowed=f"one of the labels: {', '.join(map(repr, names))}.",
            next_step="correct `label` of the gate in the conf file.",
        )
    true, predicted = (label_matrix(texts, (label,), answers.labels_per_sample)[:, 0] for texts in (answers.labels, answers.predicted))
    subject = f"all test samples that are {label!r}"
    return _of_counts(rule, int((true & predicted).sum()), int(true.sum()), "recall", subject, f"test samples of {label!r}")


def _of_counts(rule: MinMetricGate, n_correct: int, n: int, metric: str, subject: str, samples: str) -> Decision:
    interval = one_sided_bounds(n_correct, n, rule.level) if n else ProportionInterval(0.0, 0.0, 1.0, 0)
    outcome, why = _outcome(rule, interval)
    return Decision(
        gate="min_metric",
        condition=f"{metric} of at least {percent(rule.floor)} on {subject}",
        outcome=outcome,
        statistic=interval.value if n else None,
        low=interval.low,
        high=interval.high,
        level=rule.level,
        p_value=_p_value(n_correct, n, rule.floor) if n else 1.0,
        n=n,
        threshold=rule.floor,
        reason=f"{n_correct} of {n} {samples} are right, {percent(interval.value)}; {why}" if n else f"there are no {samples}: {why}",
        detail={"test": "clopper_pearson_lower", "n_correct": n_correct, "min_n": rule.min_n},
    )


def _outcome(rule: MinMetricGate, interval: ProportionInterval) -> tuple[Outcome, str]:
    sure = f"at {percent(rule.level)} confidence the true {rule.metric} is at least {percent(interval.low)}"
    if interval.n < rule.min_n:
        return "insufficient_data", f"that is fewer than the {rule.min_n} samples the gate asks for: label more test samples."
    if interval.low >= rule.floor:
        return "pass", f"{sure}, and the floor is {percent(rule.floor)}."
    needed = samples_without_error(rule.floor, rule.level)
    if interval.value >= rule.floor and needed is not None and interval.n < needed:
        return "insufficient_data", f"{sure}; below {needed} samples no result shows {percent(rule.floor)}: label more test samples."
    return "refuse", f"{sure}, which is below the floor of {percent(rule.floor)}."


def samples_without_error(floor: float, level: float) -> int | None:
    """Samples from which a candidate without a single error clears the floor; None for a floor of 1, which no test can show."""
    if floor >= 1:
        return None
    return 1 if floor <= 0 else math.ceil(math.log(1 - level) / math.log(floor))


def _p_value(n_correct: int, n: int, floor: float) -> float:
    from scipy.special import bdtrc

    return float(bdtrc(n_correct - 1, n, floor))


def _of_labels(rule: MinMetricGate, answers: TestAnswers) -> Decision:
    names = all_labels(answers)
    true = label_matrix(answers.labels, names, answers.labels_per_sample)
    n_with = true.sum(axis=0)
    # Without a label, or without the opposite of one, there is no ranking and no F1.
    n_least = n_with if rule.metric == "macro_f1" else np.minimum(n_with, answers.n - n_with)
    short = {name: int(n) for name, n in zip(names, n_least, strict=True) if n < MIN_N_OF_A_LABEL}
    if answers.n < rule.min_n or short:
        return _too_few(rule, answers.n, short)
    loss = _loss(rule, answers, names, true)
    low = 1 - float(upper_bound(loss.value, loss.variance, loss.heaviest, rule.level))
    outcome, why = _outcome_of_labels(rule, loss, low)
    return Decision(
        gate="min_metric",
        condition=_condition(rule),
        outcome=outcome,
        statistic=1 - loss.value,
        low=low,
        level=rule.level,
        p_value=p_value(loss.value, loss.variance, loss.heaviest, 1 - rule.floor),
        n=answers.n,
        threshold=rule.floor,
        reason=f"{_name(rule)} is {percent(1 - loss.value)} on {answers.n} test samples; {why}",
        detail={"test": "beta_of_influences", "n_labels": len(names), "n_of_rarest_label": int(n_with.min()), "min_n": rule.min_n},
    )


def _loss(rule: MinMetricGate, answers: TestAnswers, names: tuple[str, ...], true: np.ndarray) -> LabelLoss:
    exclusive = answers.labels_per_sample == "one"
    if rule.metric == "auroc":
        return auroc_loss(true, probabilities_of(answers, names), exclusive=exclusive)
    return macro_f1_loss(true, label_matrix(answers.predicted, names, answers.labels_per_sample), exclusive=exclusive)


def _outcome_of_labels(rule: MinMetricGate, loss: LabelLoss, low: float) -> tuple[Outcome, str]:
    sure = f"at {percent(rule.level)} confidence the true value is at least {percent(low)}"
    if low >= rule.floor:
        return "pass", f"{sure}, and the floor is {percent(rule.floor)}."
    best = 1 - float(upper_bound(0.0, 0.0, loss.heaviest_without_loss, rule.level))
    if 1 - loss.value >= rule.floor > best and rule.floor < 1:
        few = f"with so few samples of some labels no result shows {percent(rule.floor)}"
        return "insufficient_data", f"{sure}; {few}: label more test samples of the rare labels."
    return "refuse", f"{sure}, which is below the floor of {percent(rule.floor)}."


def _too_few(rule: MinMetricGate, n: int, short: dict[str, int]) -> Decision:
    kind = "samples" if rule.metric == "macro_f1" else "samples with or without them"
    listed = ", ".join(f"{name} ({count})" for name, count in short.items())
    few = f"{len(short)} labels have fewer than {MIN_N_OF_A_LABEL} {kind}: {listed}"
    return Decision(
        gate="min_metric",
        condition=_condition(rule),
        outcome="insufficient_data",
        statistic=None,
        level=rule.level,
        n=n,
        threshold=rule.floor,
        reason=f"{few if short else f'{n} test samples are fewer than the {rule.min_n} the gate asks for'}: label more test samples.",
        detail={"test": "beta_of_influences", "min_n": rule.min_n, "min_n_of_a_label": MIN_N_OF_A_LABEL, "too_few": dict(short)},
    )


def _condition(rule: MinMetricGate) -> str:
    return f"{_name(rule)} of at least {percent(rule.floor)} on all test samples"


def _name(rule: MinMetricGate) -> str:
    return "macro-F1" if rule.metric == "macro_f1" else "AUROC"
