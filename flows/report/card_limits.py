"""What the model card says was not measured, or on too little."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from flows.report.accuracy import SliceTable
from flows.report.markdown import escaped
from pipelines.config import ProjectConfig

if TYPE_CHECKING:
    from pipelines.gates.decision import Judgement

# With fewer, a 95 % interval around 90 % is wider than 17 points.
_SMALL_N = 50
_MAX_NAMED = 10
_NOT_MEASURED_WITHOUT = {
    "robustness": "how it does on damaged inputs (noise, blur and other light of images; typos and lost letters of texts)",
    "behaviour": "the team's own behaviour tests",
    "calibration": "whether its confidences are kept, as a condition",
    "negative_transfer": "whether the pretraining helps at all",
    "leakage": "near-duplicates between training and test samples, as a condition",
    "latency_p95_ms": "how fast it answers, as a condition",
}


def limits(config: ProjectConfig, evaluation: dict[str, Any], tables: Sequence[SliceTable], judgement: Judgement) -> list[str]:
    """Sentences in Markdown; at least one, as every model has limits."""
    domains = ", ".join(escaped(domain) for domain in evaluation["accuracy_by_domain"])
    found = [
        f"Measured on test samples of these domains alone: {domains}. What the model does elsewhere is not known; the monitor tells when "
        "traffic leaves them.",
        *_small(tables),
        *_absent_labels(config, evaluation),
        *_undecided(judgement),
        *_not_measured(config),
    ]
    if not config.data.slices:
        found.append(
            "No slices beyond domain and label: the conf file names no columns in `data.slices`, so differences between groups of people, "
            "devices or places are not known."
        )
    found.append("The bundle holds test samples (its goldens), so it is as confidential as the data.")
    return found


def _small(tables: Sequence[SliceTable]) -> list[str]:
    small = [
        f"{table.column} {escaped(row.value)} ({row.candidate.n})"
        for table in tables[1:]
        for row in table.rows
        if row.candidate.n < _SMALL_N
    ]
    if not small:
        return []
    more = f" and {len(small) - _MAX_NAMED} more" if len(small) > _MAX_NAMED else ""
    return [f"Fewer than {_SMALL_N} test samples, so wide intervals: {', '.join(small[:_MAX_NAMED])}{more}."]


def _absent_labels(config: ProjectConfig, evaluation: dict[str, Any]) -> list[str]:
    measured = evaluation.get("accuracy_by_label", evaluation.get("by_label", {}))
    absent = [label for label in config.labels if label not in measured or measured[label].get("n") == 0]
    return [f"No test sample has the label {', '.join(escaped(label) for label in absent[:_MAX_NAMED])}."] if absent else []


def _undecided(judgement: Judgement) -> list[str]:
    unclear = [escaped(decision.condition) for decision in judgement.decisions if decision.outcome == "insufficient_data"]
    return [f"Not decided for want of test samples: {'; '.join(unclear)}."] if unclear else []


def _not_measured(config: ProjectConfig) -> list[str]:
    asked = {gate.kind for gate in config.gates}
    missing = [what for kind, what in _NOT_MEASURED_WITHOUT.items() if kind not in asked]
    return [f"Not asked for by a gate: {'; '.join(missing)}."] if missing else []
