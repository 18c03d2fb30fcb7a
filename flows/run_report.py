"""What a person sees of a retraining: an HTML page, and artifacts on the run's page in Prefect."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

from flows.artifacts import publish_links, publish_markdown, publish_table
from flows.events import emit_model_promoted, emit_model_refused
from flows.learning import Candidate, RunStep
from flows.learning_report import LearningReport, read_learning
from flows.model_card import write_card_page
from flows.pages import percent, write_page
from flows.records import RunRecord
from flows.report.baselines import baseline_accuracies
from flows.report.content import ReportFolders, read_evaluated
from flows.report.curves import training_charts
from flows.report.explain import explain
from flows.report.words import decision_in_words, summary_in_markdown
from flows.session import Session
from flows.tasks import watcher
from pipelines.core.errors import RegraftError
from pipelines.core.label_sets import LabelsPerSample
from pipelines.stages import Stages
from pipelines.workspace import Workspace

_NO_FOLDERS = ReportFolders()


def publish_run(
    workspace: Workspace,
    record: RunRecord,
    learnt: LearningReport,
    card: str = "",
    folders: ReportFolders = _NO_FOLDERS,
    labels_per_sample: LabelsPerSample = "one",
) -> RunRecord:
    """Writes the run's page and its artifacts.

    Args:
        workspace: Pages go to its `reports/runs/RUN/`.
        record: Of the run.
        learnt: How the model was learnt, as far as the run got.
        card: Text of the model card, where a version was registered.
        folders: What the stages wrote, as far as the run got.
        labels_per_sample: Of the project.

    Returns:
        The record with the page among its reports, and what baselines reached.
    """
    page = workspace.reports / "runs" / record.run / "index.html"
    record = record.model_copy(update={"reports": {"run": str(page), **_kept_reports(record, card, page.parent)}})
    evaluated = read_evaluated(folders, labels_per_sample)
    if evaluated is not None:
        record = record.model_copy(update={"baselines": baseline_accuracies(evaluated.baselines)})
    longest = max(record.stages_seconds.values(), default=0.0) or 1.0
    write_page(
        "run.html.j2",
        page,
        title=f"{record.project}: {record.outcome}",
        run=record,
        decision=decision_in_words(record),
        evaluated=evaluated,
        learning=learnt,
        training_charts=training_charts(learnt.curves),
        longest=longest,
    )
    _publish_artifacts(record, card)
    return record


def report_run(
    session: Session, record: RunRecord, candidate: Candidate | None, champion: Path | None, card: str, run_step: RunStep
) -> RunRecord:
    """Runs the stages that only the report needs, and publishes it.

    Args:
        session: Of the run.
        record: Kept already: nothing here changes what was decided.
        candidate: None where the run made none.
        champion: Output of the champion's evaluation on the same test samples; None where there is none.
        card: Text of the model card, where a version was registered.
        run_step: How each stage is run.

    Returns:
        The record with its reports, and what they took.
    """
    if candidate is None:
        return publish_run(session.workspace, record, LearningReport(), card)
    explained = explain(Stages(session.workspace, session.config, watcher()), candidate, run_step)
    paths = {name: output.path for name, output in candidate.outputs.items()}
    learnt = read_learning(paths.get("train"), paths.get("select"), paths.get("check_weights"))
    folders = ReportFolders(
        evaluate=paths.get("evaluate"),
        truncation=paths.get("truncation"),
        champion=champion,
        split=paths.get("split"),
        learning_curve=explained.path("learning_curve"),
        mistakes=explained.path("mistakes"),
        zero_shot=explained.path("zero_shot"),
        missing=explained.missing,
    )
    cost = {"stages_seconds": record.stages_seconds | explained.seconds, "peak_memory_mib": peak_memory_mib()}
    return publish_run(session.workspace, record.model_copy(update=cost), learnt, card, folders, session.config.labels_per_sample)


def peak_memory_mib() -> float | None:
    """The most memory that this process, or one that it started and waited for, ever had; None where the system does not say."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return None
    bytes_per_unit = 1 if sys.platform == "darwin" else 1024
    peaks = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return round(max(peaks) * bytes_per_unit / 2**20, 1)


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
    write_card_page(kept, f"{record.project} {record.version}: model card", card)
    return record.reports | {"model_card": str(kept)}


def _publish_artifacts(record: RunRecord, card: str) -> None:
    publish_markdown("outcome", summary_in_markdown(record))
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
