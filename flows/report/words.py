"""What was decided and why, in plain words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flows.pages import percent
from flows.records import RunRecord

_SPARE_SHOWN = 5


def decision_in_words(record: RunRecord) -> list[str]:
    """Sentences for somebody who has not seen a gate before."""
    sentences = [_what_happened(record)]
    if record.accuracy is not None:
        right = round(record.accuracy.value * record.accuracy.n)
        low, high = 100 * record.accuracy.low, 100 * record.accuracy.high
        sentences.append(
            f"The candidate gets {right} of {record.accuracy.n} test samples right. On samples of the same kind its accuracy lies between "
            f"{low:.1f} % and {high:.1f} % (95 % interval)."
        )
    return sentences + _why_not(record.decisions)


def _what_happened(record: RunRecord) -> str:
    n_gates = len(record.decisions)
    champion = record.champion_before
    match record.outcome:
        case "promoted":
            before = f"in place of {champion}" if champion else "as the first one: there was no champion to compare it with"
            why = f"{record.forced.by} forced it: {record.forced.reason}" if record.forced else f"All {n_gates} conditions hold."
            return f"The new model is in production as {record.version}, {before}. {why}"
        case "waiting":
            stays = f"Until then {champion} stays in production." if champion else "Until then nothing is in production."
            return f"All {n_gates} conditions hold that a machine can decide. A person has to say whether the new model ships. {stays}"
        case "refused":
            stays = f"{champion} stays in production." if champion else "Nothing is in production yet."
            return f"The new model was not promoted. {stays}"
        case "unchanged":
            return f"Nothing changed: the same data and configuration give the model that is in production ({champion})."
        case _:
            return "No model was trained."


def _why_not(decisions: Sequence[dict[str, Any]]) -> list[str]:
    refused = [decision["condition"] for decision in decisions if decision["outcome"] == "refuse"]
    unclear = [decision["condition"] for decision in decisions if decision["outcome"] == "insufficient_data"]
    sentences = []
    if refused:
        sentences.append(f"Of {len(decisions)} conditions {len(refused)} refused: {_listed(refused)}.")
    if unclear:
        sentences.append(
            f"{len(unclear)} of {len(decisions)} conditions could not be decided with the test samples that there are: {_listed(unclear)}. "
            "More labelled test samples may decide them; that is not the same as a bad model."
        )
    return sentences


def _listed(conditions: Sequence[str]) -> str:
    more = len(conditions) - _SPARE_SHOWN
    return "; ".join(conditions[:_SPARE_SHOWN]) + (f"; and {more} more" if more > 0 else "")


def summary_in_markdown(record: RunRecord) -> str:
    """For the run's page in Prefect: two lines."""
    accuracy = f" Accuracy {percent(record.accuracy)} on {record.accuracy.n} test samples." if record.accuracy else ""
    return f"**{record.outcome}**: {record.reason}{accuracy}"
