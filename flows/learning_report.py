"""What a run's page and the model card say of how the model was learnt: backbones and ways that were tried, their cost, the choice."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flows.records import Accuracy


@dataclass(frozen=True)
class TrainingCurve:
    """Of one way that was trained by gradient.

    Attributes:
        way: Its name.
        epochs: Each with `number`, `train_loss`, `validation_log_loss` and `validation_accuracy`; number 0 is the start.
        best_epoch: The one that was kept of it.
    """

    way: str
    epochs: list[dict[str, Any]]
    best_epoch: int | None = None


@dataclass(frozen=True)
class LearningReport:
    """From `ranking.json` of stage `select`, `training.json` of stage `train`, and the costs beside them.

    Attributes:
        method: Of the conf file.
        kept, reason: Which way `auto` or `setfit` kept and why; empty for other methods.
        ways: What `auto` tried or left out, each with `seconds` where it took any.
        n_validation: Samples that the ways were compared on.
        costs: Seconds of the parts of stage `train` by name.
        ranking: Of the candidate backbones, the most promising first, each with `seconds`; empty where there was but one.
        ranking_reason: Why that backbone.
        weights_findings: What looks wrong about the backbone's weights, each with `check`, `got` and `next_step`.
        curve, best_epoch: Of the network that was kept, where it was trained by gradient.
        curves: Of all ways that were tried and trained by gradient, the kept one among them.
        adapters: Of method `lora`: how many numbers were trained, and where.
    """

    method: str = ""
    kept: str = ""
    reason: str = ""
    ways: list[dict[str, Any]] = field(default_factory=list)
    n_validation: int = 0
    costs: dict[str, float] = field(default_factory=dict)
    ranking: list[dict[str, Any]] = field(default_factory=list)
    ranking_reason: str = ""
    weights_findings: list[dict[str, Any]] = field(default_factory=list)
    curve: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int | None = None
    curves: list[TrainingCurve] = field(default_factory=list)
    adapters: dict[str, Any] = field(default_factory=dict)

    @property
    def trained_share(self) -> str:
        """What adapters trained of the network, as the end of a sentence; empty where there were none."""
        if not self.adapters:
            return ""
        share = f"{self.adapters['n_trained']:,} of {self.adapters['n_all']:,} numbers ({100 * self.adapters['trained_frac']:.2g} %)"
        return (
            f"{share}: adapters of rank {self.adapters['rank']} beside {self.adapters['n_layers']} layers, merged afterwards, and the head"
        )


def read_learning(trained: Path | None = None, selected: Path | None = None, checked: Path | None = None) -> LearningReport:
    """Reads what the stages wrote.

    Args:
        trained: Output of stage `train`; None where the run did not get that far.
        selected: Output of stage `select`; likewise.
        checked: Output of stage `check_weights`; None also where it had no need to run.
    """
    training, costs = _read(trained, "training.json"), _read(trained, "costs.json")
    ranking = _read(selected, "ranking.json")
    return LearningReport(
        method=training.get("method", ""),
        kept=training.get("kept", ""),
        reason=training.get("reason", ""),
        ways=[{**way, "seconds": costs.get(way["way"])} for way in training.get("tried", [])],
        n_validation=training.get("n_validation", 0),
        costs=costs,
        ranking=[_candidate(row, _read(selected, "costs.json")) for row in ranking.get("candidates", [])],
        ranking_reason=ranking.get("reason", ""),
        weights_findings=_read(checked, "sanity.json").get("findings", []),
        curve=training.get("curve", []),
        best_epoch=training.get("best_epoch"),
        curves=_curves(training),
        adapters=training.get("adapters", {}),
    )


def _curves(training: dict[str, Any]) -> list[TrainingCurve]:
    records = [(way["way"], way.get("detail", {})) for way in training.get("tried", [])] or [(training.get("method", ""), training)]
    curves: list[TrainingCurve] = []
    for way, record in records:
        epochs = record.get("curve", [])
        # A start alone is no training, and what is made of a training afterwards has its curve.
        if len(epochs) > 1 and all(epochs != one.epochs for one in curves):
            curves.append(TrainingCurve(way, epochs, record.get("best_epoch")))
    return curves


def _candidate(row: dict[str, Any], costs: dict[str, float]) -> dict[str, Any]:
    parts = [costs.get(f"{row['backbone']}: {part}", 0.0) for part in ("features", "probe")]
    accuracy = Accuracy.model_validate(row["accuracy"]) if "accuracy" in row else None
    return {"log_loss": None, **row, "accuracy": accuracy, "seconds": sum(parts)}


def _read(folder: Path | None, name: str) -> dict[str, Any]:
    if folder is None or not (folder / name).is_file():
        return {}
    content: dict[str, Any] = json.loads((folder / name).read_bytes())
    return content
