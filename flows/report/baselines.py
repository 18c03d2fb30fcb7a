"""What needs no training, beside the model on the same test samples: label names alone, and the commonest label."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.records import Accuracy
from flows.report.accuracy import proportion
from pipelines.answers import TestAnswers
from pipelines.baselines import majority_label
from pipelines.dataset import read_samples

_N_EXAMPLES = 3


@dataclass(frozen=True)
class BaselineRow:
    """One baseline.

    Attributes:
        name: `zero_shot` or `majority`.
        says: What it answers, for people.
        accuracy: On the test split; None where it could not be measured.
        reason: Why it could not.
    """

    name: str
    says: str
    accuracy: Accuracy | None
    reason: str = ""


def baseline_rows(answers: TestAnswers, split: Path | None, zero_shot: Path | None, missing: Mapping[str, str]) -> list[BaselineRow]:
    """Those that there are.

    Args:
        answers: Of the candidate: the same test samples.
        split: Output of stage `split`; None where it is not at hand.
        zero_shot: Output of stage `zero_shot`; None where it failed, or was not asked for.
        missing: By stage, why it could not be made.
    """
    rows = []
    if zero_shot is not None:
        rows.append(_zero_shot(json.loads((zero_shot / "zero_shot.json").read_bytes())))
    elif "zero_shot" in missing:
        rows.append(BaselineRow("zero_shot", "the label whose name is nearest", None, missing["zero_shot"]))
    return rows if split is None else [*rows, _majority(answers, split)]


def baseline_accuracies(rows: list[BaselineRow]) -> dict[str, Accuracy]:
    """By name, of those that were measured."""
    return {row.name: row.accuracy for row in rows if row.accuracy is not None}


def _zero_shot(record: dict[str, Any]) -> BaselineRow:
    if record["outcome"] != "measured":
        return BaselineRow("zero_shot", "the label whose name is nearest", None, str(record["reason"]))
    says = f"the label whose name is nearest, by {record['network']}{_examples(record['wordings'])}"
    return BaselineRow("zero_shot", says, Accuracy.model_validate(record["accuracy"]))


def _examples(wordings: Mapping[str, list[str]]) -> str:
    quoted = [f"“{texts[0]}”" for texts in wordings.values()]
    return f" ({', '.join(quoted[:_N_EXAMPLES])}{', …' if len(quoted) > _N_EXAMPLES else ''})"


def _majority(answers: TestAnswers, split: Path) -> BaselineRow:
    label, _ = majority_label(read_samples(split / "samples.csv"))
    says = f"always {label or 'none of the labels'}, the commonest of the training split"
    return BaselineRow("majority", says, proportion(int((answers.labels == label).sum()), answers.n))
