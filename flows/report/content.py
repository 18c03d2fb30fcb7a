"""Everything that the page of a run shows of its evaluation, read from what the stages wrote."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flows.records import Accuracy
from flows.report.accuracy import Confusion, SliceTable, confusion, proportion, slice_tables
from flows.report.baselines import BaselineRow, baseline_rows
from flows.report.charts import Chart
from flows.report.curves import learning_chart, read_learning_curve
from flows.report.reliability import ConfidenceBin, confidence_bins, reliability_charts
from pipelines.answers import TestAnswers, read_answers
from pipelines.core.label_sets import LabelsPerSample
from pipelines.dataset import read_samples
from pipelines.truncation import read_truncation


@dataclass(frozen=True)
class ReportFolders:
    """Output folders of stages; None where there is no such output.

    Attributes:
        missing: By stage, why it could not be made.
    """

    evaluate: Path | None = None
    champion: Path | None = None
    split: Path | None = None
    learning_curve: Path | None = None
    mistakes: Path | None = None
    zero_shot: Path | None = None
    truncation: Path | None = None
    missing: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Mistake:
    """A wrong answer. Pictures are `data:` addresses, so that the page needs no other file; other inputs than images have none."""

    row: dict[str, Any]
    image: str = ""
    saliency: str = ""


@dataclass(frozen=True)
class Evaluated:
    """What an evaluation gives to show.

    Attributes:
        evaluation: `evaluation.json`.
        accuracy: Of all test samples.
        baselines: What needs no training, on the same samples.
        counts: Samples by split and domain.
        truncation: Of texts, a sentence on those that the backbone does not see whole; empty of other inputs.
    """

    evaluation: dict[str, Any]
    labels_per_sample: LabelsPerSample
    n_test: int
    accuracy: Accuracy
    baselines: list[BaselineRow]
    tables: list[SliceTable]
    has_champion: bool
    confused: Confusion | None
    bins: list[ConfidenceBin]
    reliability: tuple[Chart, Chart]
    counts: dict[str, dict[str, int]]
    mistakes: dict[str, Any]
    shown_mistakes: list[Mistake]
    learning_curve: dict[str, Any]
    learning_chart: Chart | None
    truncation: str
    missing: Mapping[str, str]


def read_evaluated(folders: ReportFolders, labels_per_sample: LabelsPerSample = "one") -> Evaluated | None:
    """Reads what there is; nothing where the run did not get as far as an evaluation.

    Args:
        folders: Where the stages wrote.
        labels_per_sample: Of the project.

    Raises:
        DataError: The predictions are not what an evaluation writes.
    """
    if folders.evaluate is None:
        return None
    evaluation = _json(folders.evaluate / "evaluation.json")
    answers = read_answers(folders.evaluate / "predictions.csv", labels_per_sample)
    champion = _champion_answers(folders.champion, labels_per_sample)
    bins = confidence_bins(answers)
    curve = read_learning_curve(folders.learning_curve) if folders.learning_curve else {}
    mistakes = _json(folders.mistakes / "mistakes.json") if folders.mistakes else {}
    return Evaluated(
        evaluation=evaluation,
        labels_per_sample=labels_per_sample,
        n_test=answers.n,
        accuracy=proportion(int(answers.correct.sum()), answers.n),
        baselines=baseline_rows(answers, folders.split, folders.zero_shot, folders.missing),
        tables=slice_tables(answers, champion),
        has_champion=champion is not None,
        confused=confusion(answers, evaluation["labels"]),
        bins=bins,
        reliability=reliability_charts(bins),
        counts=sample_counts(folders.split) if folders.split else {},
        mistakes=mistakes,
        shown_mistakes=[_mistake(folders.mistakes, place, row) for place, row in enumerate(mistakes.get("shown", []))],
        learning_curve=curve,
        learning_chart=learning_chart(curve) if curve else None,
        truncation=read_truncation(folders.truncation).in_words if folders.truncation else "",
        missing=folders.missing,
    )


def sample_counts(split: Path) -> dict[str, dict[str, int]]:
    """Samples by domain, then by split; from the output of stage `split`."""
    counts: dict[str, Counter[str]] = {}
    for sample in read_samples(split / "samples.csv"):
        counts.setdefault(sample.domain, Counter())[sample.split] += 1
    return {domain: dict(counts[domain]) for domain in sorted(counts)}


def _champion_answers(folder: Path | None, labels_per_sample: LabelsPerSample) -> TestAnswers | None:
    return None if folder is None else read_answers(folder / "predictions.csv", labels_per_sample)


def _mistake(folder: Path | None, place: int, row: dict[str, Any]) -> Mistake:
    if folder is None:
        raise ValueError("rows of mistakes without a folder")
    if not (folder / f"{place:02d}-image.png").is_file():
        return Mistake(row)
    return Mistake(row, _address(folder / f"{place:02d}-image.png"), _address(folder / f"{place:02d}-map.png"))


def _address(png: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(png.read_bytes()).decode('ascii')}"


def _json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_bytes())
    return content
