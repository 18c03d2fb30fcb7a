"""The part of a drift report that says whether a retraining starts, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from monitoring.html_table import html_table
from monitoring.trigger.decision import TriggerDecision

_COLUMNS = {"at": "when", "asked_by": "asked by", "verdict": "verdict", "new_labels": "new labels", "action": "action", "why": "why"}


def trigger_html(decision: TriggerDecision, earlier: Sequence[Mapping[str, Any]]) -> str:
    """A section with the decision, its conditions, and the decisions before it.

    Args:
        decision: On the window of the report.
        earlier: Rows with `at`, `asked_by`, `verdict`, `new_labels`, `action` and `why`, oldest first.
    """
    conditions = [[item.name, item.value, item.limit, "yes" if item.passed else "no"] for item in decision.conditions]
    marks = [not item.passed for item in decision.conditions]
    note = "A run that starts looks once more: labels may have come in since, or somebody may have stopped it."
    rows = [["" if row[name] is None else str(row[name]) for name in _COLUMNS] for row in reversed(earlier)]
    return "\n".join(
        [
            '<section class="regraft">',
            f"<h2>Retraining: {escape(decision.action.replace('_', ' '))}</h2><p>{escape(decision.reason)}</p>",
            html_table("Conditions", ["condition", "found", "asked for", "holds"], conditions, marks, note),
            html_table("Decisions before", list(_COLUMNS.values()), rows) if rows else "",
            "</section>",
        ]
    )
