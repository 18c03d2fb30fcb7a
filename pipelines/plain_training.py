"""What an adaptation must be worth more than: the same method on the same labelled samples, without the unlabelled ones.

Stage `plain_training` writes `plain_training.json` (what became of that training, and which test samples are of the target domain) and
`predictions.csv`: the answers of its own sealed bundle for all test samples.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import JsonValue

from pipelines.answers import TestAnswers, read_answers
from pipelines.baselines import Baseline, Outcome
from pipelines.core.bundle import canonical_json
from pipelines.core.label_sets import LabelsPerSample
from pipelines.dataset import Sample
from pipelines.unlabelled import UnlabelledSample


@dataclass(frozen=True)
class PlainTraining:
    """What the gate `adaptation` reads.

    Attributes:
        plain: The model without adaptation.
        target_ids: Test samples of the target domain.
        domains: Of the unlabelled samples.
    """

    plain: Baseline
    target_ids: frozenset[str]
    domains: tuple[str, ...]

    def of_target(self, answers: TestAnswers) -> np.ndarray:
        """Which of the n answers are for samples of the target domain."""
        return np.isin(answers.ids, list(self.target_ids))


def target_samples(samples: Sequence[Sample], unlabelled: Sequence[UnlabelledSample]) -> list[Sample]:
    """The test samples that come from where the unlabelled ones come from.

    Those of the same domain. A domain that training samples have, too, is no new one by its name; of it those test samples count that
    arrived no earlier than the first of its unlabelled ones, so samples without an arrival do not.
    """
    trained = {sample.domain for sample in samples if sample.split == "train"}
    since = {domain: min(item.arrival for item in unlabelled if item.domain == domain) for domain in {item.domain for item in unlabelled}}

    def is_of_target(sample: Sample) -> bool:
        if sample.split != "test" or sample.domain not in since:
            return False
        first = since[sample.domain]
        return sample.domain not in trained or bool(first and sample.arrival and sample.arrival >= first)

    return [sample for sample in samples if is_of_target(sample)]


def write_plain_training(outcome: Outcome, samples: Sequence[Sample], unlabelled: Sequence[UnlabelledSample], out: Path) -> None:
    """Writes the stage's output.

    Args:
        outcome: Of the training without adaptation.
        samples: Of all splits.
        unlabelled: That the candidate was adapted to; none where it was not adapted.
        out: Empty directory.
    """
    if outcome.evaluation is not None:
        shutil.copyfile(outcome.evaluation / "predictions.csv", out / "predictions.csv")
    content: dict[str, JsonValue] = {
        "state": outcome.state,
        "why": outcome.why,
        "domains": [*sorted({item.domain for item in unlabelled})],
        "target_ids": [*sorted(sample.id for sample in target_samples(samples, unlabelled))],
    }
    (out / "plain_training.json").write_bytes(canonical_json(content))


def read_plain_training(folder: Path, labels_per_sample: LabelsPerSample) -> PlainTraining:
    """Reads what `write_plain_training` wrote.

    Raises:
        DataError: The answers cannot be read.
    """
    content = json.loads((folder / "plain_training.json").read_bytes())
    answers = read_answers(folder / "predictions.csv", labels_per_sample) if content["state"] == "trained" else None
    plain = Baseline(content["state"], content["why"], answers)
    return PlainTraining(plain, frozenset(content["target_ids"]), tuple(content["domains"]))
