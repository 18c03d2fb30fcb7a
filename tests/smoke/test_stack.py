"""The pinned packages work together: each one imports in a fresh process, and Prefect's server really schedules."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from flows.background import LogPlace
from flows.deployments import Schedules, deploy
from flows.environment import apply_environment, telemetry_free_environment
from flows.server import prefect_server
from pipelines.workspace import Workspace
from tests.flows.conftest import SMALL_FLOWS, make_workspace, preserved_environment, project_config, until

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {
    "prefect": "prefect",
    "torch": "torch",
    "torchvision": "torchvision",
    "timm": "timm",
    "transformers": "transformers",
    "dvc.repo": "dvc",
    "gto.api": "gto",
    "great_expectations": "great-expectations",
    "bentoml": "bentoml",
    "evidently": "evidently",
}
# Pins without which something breaks silently: see pyproject.toml.
ALSO_PINNED = ("fastapi", "sqlalchemy", "pandas", "numpy", "pydantic", "safetensors", "scikit-learn", "scipy")


def locked_versions() -> dict[str, str]:
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    pins = [match.groups() for line in lines if (match := re.match(r"([A-Za-z0-9._-]+)==([^\s;\\]+)", line))]
    return {re.sub(r"[-_.]+", "-", name).lower(): pin for name, pin in pins}


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    workspace = make_workspace(tmp_path / "workspace")
    with preserved_environment():
        apply_environment(workspace)
        yield workspace


@pytest.mark.parametrize("package", [*PACKAGES.values(), *ALSO_PINNED])
def test_the_installed_version_is_the_locked_one(package: str) -> None:
    # A build's own suffix (torch 2.15.0+cpu) is left out: which build is installed depends on the machine.
    assert version(package).partition("+")[0] == locked_versions()[package].partition("+")[0]


@pytest.mark.slow
@pytest.mark.parametrize("module", PACKAGES)
def test_a_package_imports_in_a_fresh_process(module: str, workspace: Workspace) -> None:
    command = [sys.executable, "-c", f"import {module}"]
    answer = subprocess.run(command, cwd=workspace.root, env=os.environ, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr


@pytest.mark.slow
def test_the_scheduler_makes_runs_and_the_log_is_clean(workspace: Workspace) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterDeploymentId
    from prefect.client.schemas.objects import StateType

    with prefect_server(workspace):
        deployments = deploy(workspace, project_config("toy"), sources=SMALL_FLOWS, schedules=Schedules(retrain="* * * * *"))
        wanted = FlowRunFilter(deployment_id=FlowRunFilterDeploymentId(any_=[deployments.retrain_id]))
        with get_client(sync_client=True) as client:
            scheduled = until(lambda: bool(client.read_flow_runs(flow_run_filter=wanted)), seconds=120)
            log = LogPlace(workspace.logs / "prefect-server.log", 0).tail(n_lines=40)
            assert scheduled, f"no run of a cron schedule: SQLAlchemy or FastAPI do not fit Prefect; the server's log:\n{log}"
            states = {run.state.type for run in client.read_flow_runs(flow_run_filter=wanted) if run.state}
    assert StateType.SCHEDULED in states
    assert "InvalidRequestError" not in log


@pytest.mark.slow
def test_no_process_of_the_stack_is_told_to_send_telemetry(workspace: Workspace) -> None:
    import psutil

    about_telemetry = ("TRACK", "ANALYTICS", "TELEMETRY")
    wanted = {name: value for name, value in telemetry_free_environment(workspace).items() if any(word in name for word in about_telemetry)}
    assert len(wanted) >= 9
    with prefect_server(workspace) as server:
        seen = psutil.Process(server.pid).environ()
    assert {name: seen.get(name) for name in wanted} == wanted
