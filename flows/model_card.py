"""The model card: what the registered model is, what was measured of this very bundle, and its limits."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import yaml

from flows.learning import Candidate
from flows.learning_report import read_learning
from flows.pages import percent
from flows.records import Accuracy
from pipelines.config import ProjectConfig
from pipelines.core.bundle import read_manifest
from pipelines.package import what_it_says

if TYPE_CHECKING:
    from pipelines.gates.decision import Judgement


def model_card(config: ProjectConfig, candidate: Candidate, judgement: Judgement) -> str:
    """Markdown with the metadata header that the Hugging Face Hub reads."""
    manifest, identity = read_manifest(candidate.bundle)
    evaluation = json.loads((candidate.outputs["evaluate"].path / "evaluation.json").read_bytes())
    lineage = json.loads((candidate.bundle / "lineage.json").read_bytes())
    header = {
        "library_name": "timm",
        "pipeline_tag": "image-classification",
        "tags": ["regraft", config.project],
        "base_model": manifest.backbone.origin,
    }
    lines = [
        f"---\n{yaml.safe_dump(header, sort_keys=False).strip()}\n---",
        f"# {config.project}",
        f"{what_it_says(config)} Bundle `{identity}`.",
        "## Measured, on the test split, from this very bundle",
        _accuracy_table(evaluation),
        *_by_label(evaluation),
        f"Log loss {evaluation['log_loss']:.3f} nats; expected calibration error {evaluation['expected_calibration_error']:.3f} (10 bins).",
        "## Gates",
        "\n".join(f"- **{decision.outcome}** {decision.gate}, {decision.condition}: {decision.reason}" for decision in judgement.decisions),
        "## Made from",
        f"- Dataset `{lineage['dataset']}`, training samples by domain: {_listed(lineage['train_domains'])}\n"
        f"- Backbone {manifest.backbone.name} ({manifest.backbone.origin}), licence of its weights: {manifest.backbone.licence}"
        f"{_chosen_backbone(candidate)}\n"
        f"- {_method(config, candidate)}, seed {config.seed}; libraries: {_listed(lineage['versions'])}",
        "## Limits",
        "Measured on the domains in the table only; the monitor tells when traffic leaves them. "
        "The bundle holds test samples (its goldens), so it is as confidential as the data.",
    ]
    return "\n\n".join(lines) + "\n"


def _by_label(evaluation: dict[str, Any]) -> list[str]:
    """Where a sample has any number of labels, how each is found; the accuracy above is that of whole sets."""
    if "by_label" not in evaluation:
        return []
    rows = [
        f"| {label} | {_share(row['precision'])} | {_share(row['recall'])} | {_share(row['f1'])} |"
        for label, row in evaluation["by_label"].items()
    ]
    head = (
        "Accuracy counts a sample only where its whole set of labels is right. By label:\n\n"
        "| label | precision | recall | F1 |\n|---|---|---|---|\n"
    )
    return [head + "\n".join(rows)]


def _listed(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _share(value: float) -> str:
    return f"{100 * value:.1f} %"


def _method(config: ProjectConfig, candidate: Candidate) -> str:
    learning = read_learning(candidate.outputs["train"].path, None)
    return f"Method `{config.method.kind}`" + (f": {learning.reason} (validation)" if learning.kept else "")


def _chosen_backbone(candidate: Candidate) -> str:
    learning = read_learning(None, candidate.outputs["select"].path)
    return f"; chosen among {len(learning.ranking)}: {learning.ranking_reason}" if learning.ranking else ""


def _accuracy_table(evaluation: dict[str, dict[str, float]]) -> str:
    rows = [("all", evaluation["accuracy"]), *evaluation["accuracy_by_domain"].items()]
    lines = ["| domain | n | accuracy (95 % interval) |", "|---|---|---|"]
    for name, value in rows:
        accuracy = Accuracy.model_validate(value)
        lines.append(f"| {name} | {accuracy.n} | {percent(accuracy)} |")
    return "\n".join(lines)
