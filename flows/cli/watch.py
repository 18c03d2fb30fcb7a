"""Commands that look at production: `monitor`, `status`, `deploy`."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.cli.options import HERE, ConfOption, JsonOption, WorkspaceOption


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    for command in (monitor, status, deploy):
        app.command()(command)


def monitor(
    workspace: WorkspaceOption = HERE,
    conf: ConfOption = None,
    as_json: JsonOption = False,
    ui: Annotated[bool, typer.Option("--ui", help="Only show the windows judged so far, in Evidently's dashboard.")] = False,
    port: Annotated[int, typer.Option("--port", help="Of the dashboard.", min=1, max=65_535)] = 8000,
) -> None:
    """Compares the latest traffic with the champion's reference; exit code 1: drift, degraded, or broken inputs."""
    if ui:
        from flows.dashboard import show_dashboard
        from flows.session import open_session

        show_dashboard(open_session(workspace, conf), port)
        return
    from flows.cli.console import shown_progress
    from flows.cli.results import print_verdict
    from flows.session import open_session

    session = open_session(workspace, conf)
    from flows.monitor import run_monitor

    with shown_progress(quiet=as_json) as progress:
        result = run_monitor(session.workspace.root, conf, progress)
    print_verdict(result, as_json=as_json)
    if result.verdict.verdict in ("drift", "degraded") or result.verdict.data_quality_problem is not None:
        raise typer.Exit(1)


def status(workspace: WorkspaceOption = HERE, conf: ConfOption = None, as_json: JsonOption = False) -> None:
    """Champion, endpoint, last run, last verdict, and the last decisions about retraining."""
    from flows.cli.results import print_status
    from flows.session import open_session
    from flows.status import read_status

    print_status(read_status(open_session(workspace, conf)), as_json=as_json)


def deploy(
    workspace: WorkspaceOption = HERE,
    conf: ConfOption = None,
    retrain_cron: Annotated[str | None, typer.Option("--retrain-cron", help='Schedule of retraining, e.g. "0 3 * * *" (UTC).')] = None,
    monitor_cron: Annotated[str | None, typer.Option("--monitor-cron", help="Schedule of monitoring (UTC).")] = None,
    reconcile_cron: Annotated[
        str, typer.Option("--reconcile-cron", help="Schedule that makes good what the server lost (UTC); empty: none.")
    ] = "*/10 * * * *",
    as_json: JsonOption = False,
) -> None:
    """Registers the deployments and the drift automation on the workspace's Prefect server, started here if none runs."""
    from flows.cli.results import print_deployments
    from flows.deployments import Schedules
    from flows.production import deploy_workspace
    from flows.session import open_session

    schedules = Schedules(retrain=retrain_cron, monitor=monitor_cron, reconcile=reconcile_cron or None)
    print_deployments(deploy_workspace(open_session(workspace, conf), conf, schedules), as_json=as_json)
