"""What a person sees of a retraining: an HTML page, and artifacts on the run's page in Prefect."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from flows.artifacts import publish_links, publish_markdown, publish_table
from flows.events import emit_model_promoted, emit_model_refused
from flows.learning_report import LearningReport
from flows.pages import percent, write_page
from flows.records import RunRecord
from pipelines.core.errors import RegraftError
from pipelines.workspace import Workspace


def publish_run(workspace: Workspace, record: RunRecord, learnt: LearningReport, card: str = "") -> RunRecord:
    """Writes the run's page and its artifacts.

    Args:
        workspace: Pages go to its `reports/runs/RUN/`.
        record: Of the run.
        learnt: How the model was learnt, as far as the run got.
        card: Text of the model card, where a version was registered.

    Returns:
        The record with the page among its reports.
    """
    page = workspace.reports / "runs" / record.run / "index.html"
    record = record.model_copy(update={"reports": {"run": str(page), **_kept_reports(record, card, page.parent)}})
    longest = max(record.stages_seconds.values(), default=0.0) or 1.0
    write_page(
        "run.html.j2",
        page,
        title=f"{record.project}: {record.outcome}",
        run=record,
        learning=learnt,
        longest=longest,
    )
    _publish_artifacts(record, card)
    return record


def announce(record: RunRecord) -> None:
    """Tells the world what was decided; the decision stands also where Prefect does not take the event."""
    content = {"bundle": record.bundle, "version": record.version, "reason": record.reason, "run": record.run, "dataset": record.dataset}
    try:
        if record.outcome == "promoted":
            emit_model_promoted(record.project, content)
        elif record.outcome == "refused":
            emit_model_refused(record.project, content)
    except RegraftError as error:
        logging.getLogger(__name__).warning("the event of this run was not stored: %s", error.got)


def _kept_reports(record: RunRecord, card: str, folder: Path) -> dict[str, str]:
    """The run's reports, the model card among them: the one in `models/` is replaced by the next registration."""
    if not card:
        return record.reports
    kept = folder / "model_card.html"
    write_page("text.html.j2", kept, title=f"{record.project} {record.version}: model card", text=card)
    return record.reports | {"model_card": str(kept)}


def _publish_artifacts(record: RunRecord, card: str) -> None:
    publish_markdown("outcome", f"**{record.outcome}**: {record.reason}")
    if record.decisions:
        publish_table("gates", [_gate_row(decision) for decision in record.decisions], "All of them pass, or nothing is promoted.")
    if record.accuracy_by_domain:
        publish_table("accuracy", [_accuracy_row(record, domain) for domain in record.accuracy_by_domain], "Test split, 95 % intervals.")
    publish_links("reports", {name.replace("_", " "): Path(path) for name, path in record.reports.items()})
    if card:
        publish_markdown("model-card", card)


def _gate_row(decision: dict[str, Any]) -> dict[str, Any]:
    return {"condition": decision["condition"], "outcome": decision["outcome"], "n": decision["n"], "why": decision["reason"]}


def _accuracy_row(record: RunRecord, domain: str) -> dict[str, Any]:
    before = record.champion_accuracy_by_domain.get(domain)
    now = record.accuracy_by_domain[domain]
    return {"domain": domain, "n": now.n, "champion before": percent(before) if before else "", "candidate": percent(now)}
