"""Prefect's server on PostgreSQL: one variable, and nothing else is different."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from flows.deployments import deploy
from flows.environment import apply_environment
from flows.events import DRIFT_DETECTED, emit_drift_detected, model_resource
from flows.runs import find_runs, wait_for_flow_run
from flows.server import prefect_server
from pipelines.workspace import Workspace
from tests.flows.conftest import SMALL_FLOWS, project_config, until
from tests.flows.postgres import postgres

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("clean_environment")]


def test_events_start_runs_on_postgresql_by_one_variable(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    with postgres() as address:
        monkeypatch.setenv("PREFECT_SERVER_DATABASE_CONNECTION_URL", address)
        apply_environment(workspace)
        with prefect_server(workspace):
            from prefect.events import emit_event

            deployments = deploy(workspace, project_config("toy", cooldown_minutes=0), sources=SMALL_FLOWS)
            time.sleep(2)  # the server's triggers learn of the new automation through a message of their own
            first = emit_drift_detected("toy", {"i": 0})
            run = wait_for_flow_run(deployments.retrain_id, first.occurred, deadline_seconds=60)
            assert run.parameters["trigger"]["event_id"] == str(first.id)
            # A storm, without a cool-down: SQLite loses some of these under load ("database is locked").
            since, resource = datetime.now(UTC), {"prefect.resource.id": model_resource("toy")}
            with ThreadPoolExecutor(8) as pool:
                list(pool.map(lambda i: emit_event(event=DRIFT_DETECTED, resource=resource, payload={"i": i}), range(1, 21)))
            assert until(lambda: len(find_runs(deployments.retrain_id, since)) == 20, seconds=60)
        assert not (workspace.prefect_home / "prefect.db").exists(), "it went to SQLite"
        log = (workspace.logs / "prefect-server.log").read_text(encoding="utf-8")
        assert "Traceback" not in log, log[-3_000:]


def test_the_address_of_the_database_is_no_part_of_a_deployment(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows.environment import telemetry_free_environment

    monkeypatch.setenv("PREFECT_SERVER_DATABASE_CONNECTION_URL", "postgresql+asyncpg://me:secret@db/prefect")
    assert "secret" not in str(telemetry_free_environment(workspace))
    assert not list(Path(workspace.root).rglob("prefect.db"))
