"""The gate `robustness`: accuracy is kept when the test samples are blurred, noisy, brighter or compressed."""

from __future__ import annotations

from pathlib import Path

from pipelines.answers import TestAnswers, read_answers
from pipelines.config import RobustnessGate
from pipelines.gates.decision import Decision
from pipelines.gates.paired_conditions import Asked, compare, shown_not_worse


def robustness(rule: RobustnessGate, candidate: TestAnswers, corrupted: Path) -> tuple[Decision, ...]:
    """Null hypothesis of each condition: the corruption costs `max_loss` of accuracy or more.

    The same sealed bundle on the same samples, clean and corrupted: paired, by the exact unconditional test of `beats_champion`.

    Args:
        rule: Of the conf file.
        candidate: Its answers on the test split as it is.
        corrupted: Output of stage `corrupted`.

    Returns:
        One decision for each corruption, in the order of the conf file; all must pass.

    Raises:
        DataError: Answers are missing, or not of the same samples.
    """
    return tuple(_under(rule, candidate, name, corrupted / name / "predictions.csv") for name in rule.corruptions)


def _under(rule: RobustnessGate, candidate: TestAnswers, corruption: str, predictions: Path) -> Decision:
    answers = read_answers(predictions, candidate.labels_per_sample)
    condition = f"{corruption} of severity {rule.severity} costs less than {100 * rule.max_loss:g} points"
    asked = Asked(rule.kind, condition, rule.level, rule.min_n, {"corruption": corruption, "severity": rule.severity})
    return shown_not_worse(compare(answers, candidate), rule.max_loss, asked)
