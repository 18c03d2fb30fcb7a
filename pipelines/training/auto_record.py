"""What method `auto` leaves for the report: each way with its result, what became of it and why.

Nothing in it depends on time, but that the budget cut something.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

from pydantic import JsonValue

from pipelines.training.choice import Choice, Verdict
from pipelines.training.material import Material
from pipelines.training.tried import Tried

# Of the kept way's own record: what the report shows of any method.
_SHOWN = ("curve", "best_epoch", "probe")


def record_of(
    material: Material, choice: Choice, tried: Sequence[Tried], skipped: Mapping[str, str], cut: Collection[str]
) -> dict[str, JsonValue]:
    """For `training.json`.

    Args:
        material: Of the training.
        choice: Among the ways that were tried.
        tried: In order.
        skipped: Reason by name.
        cut: Names of the ways that the budget shortened or left out.
    """
    kept = tried[choice.kept]
    rows: list[JsonValue] = [_tried_row(one, verdict, cut) for one, verdict in zip(tried, choice.verdicts, strict=True)]
    rows += [{"way": name, "outcome": "skipped", "reason": reason, "cut_by_budget": name in cut} for name, reason in skipped.items()]
    return {
        "method": "auto",
        "n_train": len(material.train),
        "n_validation": len(material.validation),
        "kept": kept.way.name,
        "reason": choice.reason,
        "cut_by_budget": any(row["cut_by_budget"] for row in rows if isinstance(row, dict)),
        "tried": rows,
        **{name: kept.trained.record[name] for name in _SHOWN if name in kept.trained.record},
    }


def costs_of(tried: Sequence[Tried]) -> dict[str, float]:
    """Seconds by way."""
    return {one.way.name: round(one.seconds, 3) for one in tried}


def _tried_row(one: Tried, verdict: Verdict, cut: Collection[str]) -> dict[str, JsonValue]:
    row: dict[str, JsonValue] = {
        "way": one.way.name,
        "outcome": "kept" if verdict.is_kept else "not kept",
        "reason": verdict.reason,
        "log_loss": _number(one.way.result.log_loss),
        "accuracy": one.way.result.accuracy,
        "gain_of_best": None,
        "standard_error": None,
        "cut_by_budget": one.way.name in cut or bool(one.trained.record.get("cut_by_budget")),
        "detail": one.trained.record,
    }
    if verdict.against_best is not None:
        row |= {"gain_of_best": verdict.against_best.gain, "standard_error": _number(verdict.against_best.standard_error)}
    return row


def _number(value: float) -> float | None:
    """For JSON, which has no infinity."""
    return value if math.isfinite(value) else None
