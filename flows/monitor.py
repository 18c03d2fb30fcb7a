"""The flow `monitor`: the latest traffic against the champion's reference, a report, and an event where something is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.runtime import flow_run
from pydantic import JsonValue

from flows.alarm_history import allowed_for
from flows.artifacts import publish_links, publish_markdown, publish_table
from flows.events import emit_drift_detected
from flows.promotion import champion_bundle, repair_pointer
from flows.session import Session, open_session
from flows.tasks import in_task, watched_by
from monitoring.decision import judge_window
from monitoring.reference import Reference
from monitoring.verdict import Verdict
from monitoring.window import Window
from pipelines.core.errors import ConfigurationError
from pipelines.core.request_log import read_feedback, read_requests
from pipelines.excerpts import Excerpt
from pipelines.progress import Progress, silent
from pipelines.versioning.registry import champion


@dataclass(frozen=True)
class MonitorResult:
    """A verdict and where its report is."""

    verdict: Verdict
    report: Path


def run_monitor(root: Path, conf: Path | None, progress: Progress = silent) -> MonitorResult:
    """Runs the flow in this process and shows its progress."""
    with watched_by(progress):
        result = monitor_flow(str(root), str(conf) if conf else None)
    return MonitorResult(Verdict.model_validate(result["verdict"]), Path(result["report"]))


@flow(name="monitor", persist_result=False)
def monitor_flow(workspace: str, conf: str | None = None) -> dict[str, Any]:
    """Judges the latest window of traffic and tells the world where it drifted or degraded.

    Args:
        workspace: Its folder.
        conf: Conf file; needed where there are several.

    Returns:
        `verdict` (JSON of a `Verdict`) and `report` (path of the HTML page).
    """
    session = open_session(Path(workspace), Path(conf) if conf else None)
    repair_pointer(session)
    bundle = in_task("fetch champion", _champion_bundle, session)
    window, reference = in_task("read window", _read_window, session, bundle)
    verdict = in_task("judge", _judge, session, window, reference)
    folder = _folder(session)
    excerpts = in_task("excerpts", _excerpts, session, bundle, verdict)
    report = in_task("report", _write_report, session, window, reference, verdict, folder, excerpts)
    _publish(verdict, report)
    content = verdict.model_dump(mode="json")
    if verdict.verdict in ("drift", "degraded"):
        emit_drift_detected(session.config.project, {"verdict": content, "report": str(report)})
    return {"verdict": content, "report": str(report)}


def _champion_bundle(session: Session) -> Path:
    record = champion(session.workspace.root, session.config.project)
    if record is None:
        raise ConfigurationError(
            got=f"the workspace {session.workspace.root.name}, which has no champion.",
            allowed="a champion whose traffic can be judged.",
            next_step="run `regraft retrain`, then `regraft serve`.",
        )
    return champion_bundle(session, record)


def _read_window(session: Session, bundle: Path) -> tuple[Window, Reference]:
    reference = Reference.load(bundle)
    log = session.workspace.serving / "log"
    size = session.config.monitor.window
    lines = read_requests(log), read_feedback(log)
    return Window.from_lines(*lines, reference.bundle, reference.labels, size, reference.thresholds), reference


def _judge(session: Session, window: Window, reference: Reference) -> Verdict:
    config = session.config.monitor
    allowed = allowed_for(session, window, reference, datetime.now(UTC))
    return judge_window(window, reference, config, allowed)


def _folder(session: Session) -> Path:
    folder = session.workspace.reports / "monitor" / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{str(flow_run.id)[:8]}"
    folder.mkdir(parents=True)
    return folder


def _excerpts(session: Session, bundle: Path, verdict: Verdict) -> dict[str, Excerpt]:
    """Excerpts of the requests that the report shows, where their raw bytes were kept."""
    from monitoring.kept_inputs import kept_excerpt
    from pipelines.core.bundle import read_manifest
    from pipelines.core.modalities.adapters import modality_of

    if verdict.novelty is None:
        return {}
    shown = [*verdict.novelty.most_shifted, *(example for group in verdict.novelty.groups for example in group.examples)]
    modality, raw = modality_of(read_manifest(bundle)[0].preprocess, bundle), session.workspace.serving / "raw"
    found = {name: kept_excerpt(raw, name, modality) for name in {request.raw_sha256 for request in shown} if name is not None}
    return {name: excerpt for name, excerpt in found.items() if excerpt is not None}


def _write_report(
    session: Session, window: Window, reference: Reference, verdict: Verdict, folder: Path, excerpts: dict[str, Excerpt]
) -> Path:
    from monitoring.report import write_report

    history = session.workspace.reports / "evidently"
    report = write_report(
        window, reference, verdict, folder, evidently_workspace=history, project=session.config.project, excerpts=excerpts
    )
    staging = folder / "verdict.json.part"
    staging.write_text(verdict.to_json(), encoding="utf-8")
    staging.replace(folder / "verdict.json")  # last: a folder with it is complete
    return report


def _publish(verdict: Verdict, report: Path) -> None:
    publish_markdown("verdict", f"**{verdict.verdict}**: {verdict.reason}")
    rows: list[dict[str, JsonValue]] = [
        {"signal": s.name, "p-value": s.p_value, "threshold": s.threshold, "drifted": s.drifted} for s in verdict.signals
    ]
    if rows:
        publish_table("signals", rows)
    publish_links("drift-report", {"drift report": report})
