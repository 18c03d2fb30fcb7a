"""The flow `reconcile`: makes good what a Prefect server lost between an event and a run, or between a crash and its end.

It looks at what the workspace and the server's database say, not at what was delivered, and is safe to repeat: it does nothing where
nothing is missing. Automations act within seconds and can lose an event (SQLite does under load); this acts at its next turn, and sees all.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from prefect import flow
from prefect.runtime import flow_run

from flows.artifacts import publish_markdown, publish_table
from flows.automations import DEAD_AFTER_SECONDS
from flows.claims import taken_up_by
from flows.dead_runs import crashed_batches, crashed_run, is_at_work, mark_dead_runs, start_again
from flows.events import DRIFT_DETECTED, LABELS_READY
from flows.records import read_records
from flows.runs import deployment_id, find_runs, start_for_alarm
from flows.session import Session, only_conf_file, open_session
from flows.tasks import StepPolicy, carried_out_as, in_task, time_limit
from flows.trigger_rows import ASKED_BY_MONITOR, latest_rows
from monitoring.report import REPORT_FILE
from monitoring.verdict import Verdict
from pipelines.versioning.registry import champion
from pipelines.workspace import Workspace

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

# The automation has this long to act; a server whose SQLite file is busy has been seen to fall a minute behind.
ALARM_GRACE_SECONDS = 120
_ALARMS = ("drift", "degraded")
_MOST_ROWS = 500


@dataclass(frozen=True)
class Alarm:
    """A window of traffic for which the monitor has told the server that a retraining should start.

    Attributes:
        name: Of its report's folder.
        raised: When.
        kind: `drift`; or `labels`: there are enough new ones for a retraining without drift.
        verdict: The verdict as JSON.
        report: Path of the page.
    """

    name: str
    raised: datetime
    kind: Literal["drift", "labels"]
    verdict: dict[str, Any]
    report: str

    @property
    def trigger(self) -> dict[str, Any]:
        """Of the run, as the automation would have given it."""
        event = DRIFT_DETECTED if self.kind == "drift" else LABELS_READY
        return {"kind": self.kind, "event": event, "event_id": None, "evidence": {"verdict": self.verdict, "report": self.report}}


@dataclass(frozen=True)
class Finding:
    """Something that was missing, and what was done about it.

    Attributes:
        found: `dead run`, `crashed run` or `alarm`.
        subject: The run or the alarm.
        done: A sentence.
        started: Id of the flow run that was started for it, if one was.
    """

    found: Literal["dead run", "crashed run", "alarm"]
    subject: str
    done: str
    started: str | None = None


def _run_name() -> str:
    parameters = flow_run.parameters
    conf = Path(parameters["conf"]) if parameters.get("conf") else only_conf_file(Workspace.at(Path(parameters["workspace"])))
    return f"{conf.stem}-reconcile"


@flow(name="reconcile", flow_run_name=_run_name, persist_result=False)
def reconcile_flow(workspace: str, conf: str | None = None, dead_after_seconds: int = DEAD_AFTER_SECONDS) -> list[dict[str, Any]]:
    """Marks dead runs, starts crashed ones again, and starts the retraining that an alarm should have started.

    Args:
        workspace: Its folder.
        conf: Conf file; needed where there are several.
        dead_after_seconds: Silence of a run that counts as its death.

    Returns:
        One object for each thing that was missing: `found`, `subject`, `done`, `started`.
    """
    session = open_session(Path(workspace), Path(conf) if conf else None)
    operation = session.config.operation
    limit = time_limit("this reconciliation", operation.monitor_timeout_minutes, "operation.monitor_timeout_minutes")
    with carried_out_as(StepPolicy.of(operation)), limit:
        findings = in_task("reconcile runs", reconcile_runs, session, dead_after_seconds)
        findings += in_task("reconcile alarms", reconcile_alarms, session)
    rows = [asdict(finding) for finding in findings]
    if rows:
        publish_table("reconciled", rows, "What was missing, and what was done about it.")
    else:
        publish_markdown("reconciled", "Nothing was missing.")
    return rows


def reconcile_runs(session: Session, dead_after_seconds: float = DEAD_AFTER_SECONDS) -> list[Finding]:
    """Marks runs without a heartbeat as crashed, and starts the last retraining and batches again where they crashed.

    A monitor that crashed is left alone: its schedule starts the next.

    Raises:
        RegraftError: The deployments are not on the server.
    """
    from prefect.client.orchestration import get_client

    project, operation = session.config.project, session.config.operation
    ids = {name: deployment_id(f"{name}/{project}") for name in ("retrain", "monitor", "batch")}
    since = datetime.now(UTC) - timedelta(hours=operation.reconcile_hours)
    with get_client(sync_client=True) as client:
        dead = mark_dead_runs(client, list(ids.values()), dead_after_seconds)
        findings = [Finding("dead run", run.name, "had no heartbeat any more and was marked as crashed") for run in dead]
        if (retraining := crashed_run(client, ids["retrain"], since)) is not None:
            said = "was started again; it skips the stages that are done"
            findings.append(_resumed(client, retraining, operation.max_resumes, f"retrain/{project}", said))
        for run in crashed_batches(client, ids["batch"], since):
            findings.append(_resumed(client, run, operation.max_resumes, f"batch/{project}", "was started again, from its beginning"))
    return findings


def _resumed(client: SyncPrefectClient, run: FlowRun, max_resumes: int, deployment: str, said: str) -> Finding:
    if not start_again(client, run, max_resumes, deployment):
        return Finding("crashed run", run.name, f"has crashed {max_resumes + 1} times and is left to a person")
    return Finding("crashed run", run.name, said, str(run.id))


def reconcile_alarms(session: Session, grace_seconds: float = ALARM_GRACE_SECONDS) -> list[Finding]:
    """Starts the retraining for the last alarm, where nothing has followed it.

    Whether there is something to learn from is for the run to decide, as it is for a run that the automation starts.

    Args:
        session: Of the workspace.
        grace_seconds: How long the automation may take.
    """
    from prefect.client.orchestration import get_client

    now, operation = datetime.now(UTC), session.config.operation
    alarm = standing_alarm(session, now - timedelta(hours=operation.reconcile_hours))
    if alarm is None or (now - alarm.raised).total_seconds() < grace_seconds or _is_settled(session, alarm):
        return []
    deployment = deployment_id(f"retrain/{session.config.project}")
    with get_client(sync_client=True) as client:
        if is_at_work(client, deployment):  # a second one would be cancelled; the next turn looks again
            return []
    cooldown = timedelta(minutes=session.config.trigger.cooldown_minutes)
    if find_runs(deployment, alarm.raised - cooldown):
        return []
    started = start_for_alarm(deployment, alarm.name, alarm.trigger)
    return [Finding("alarm", alarm.name, "had started no retraining; it was started directly", str(started.id))]


def _is_settled(session: Session, alarm: Alarm) -> bool:
    """Whether a run has taken it up, or any retraining has begun since."""
    if taken_up_by(session.workspace, alarm.name) is not None:
        return True
    return any(record.started >= alarm.raised for record in read_records(session.workspace, session.config.project))


def standing_alarm(session: Session, since: datetime) -> Alarm | None:
    """The last window of the project for which the monitor wanted a retraining, unless a later one was judged ok.

    Args:
        session: Of the workspace, whose reports of the monitor are read.
        since: Older ones do not count.

    Raises:
        DataError: A verdict cannot be read.
    """
    rows = [row for row in latest_rows(session, _MOST_ROWS).rows if row.asked_by == ASKED_BY_MONITOR]
    own = {row.run[:8] for row in rows}
    wanted = {row.run[:8] for row in rows if row.action == "retrain"}
    for file in sorted((session.workspace.reports / "monitor").glob("*/verdict.json"), reverse=True):
        raised = datetime.strptime(file.parent.name[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        if raised < since:
            return None
        verdict, run = Verdict.from_json(file.read_bytes()), file.parent.name.rpartition("-")[2]
        # All projects of a workspace report to one folder. The table of decisions may have been lost, or be longer than what was read.
        if run not in own and verdict.bundle != _champion_id(session):
            continue
        kind = _kind(verdict, is_wanted=run in wanted)
        if kind is not None:
            return Alarm(file.parent.name, raised, kind, verdict.model_dump(mode="json"), str(file.with_name(REPORT_FILE)))
        if verdict.verdict == "ok":
            return None
    return None


def _champion_id(session: Session) -> str | None:
    record = champion(session.workspace.root, session.config.project)
    return record.bundle_id if record else None


def _kind(verdict: Verdict, *, is_wanted: bool) -> Literal["drift", "labels"] | None:
    """As the monitor tells the server: broken inputs are told as such, and start nothing."""
    if verdict.data_quality_problem is not None:
        return None
    if verdict.verdict in _ALARMS:
        return "drift"
    return "labels" if is_wanted else None
