"""A deployed retraining that waits for a person, on a real Prefect server with a real worker, answered from the command line."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import yaml

from flows.environment import apply_environment
from flows.server import running_server, stop_server
from flows.worker import start_worker, stop_worker
from pipelines.versioning.registry import refusals
from pipelines.workspace import Workspace
from tests.conftest import git
from tests.end_to_end.browser import CHROMIUM, page_in_browser
from tests.end_to_end.digits_workspace import two_digits_workspace
from tests.end_to_end.test_retrain import environment, regraft
from tests.flows.conftest import preserved_environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1_800)]

POOL = "regraft-workspace"


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """A workspace with real digits, its deployments on a server of its own, and a worker."""
    workspace = two_digits_workspace(tmp_path_factory.mktemp("approval"))
    with preserved_environment():
        os.environ.update(environment())
        try:
            with_gates(workspace, minutes=60)
            regraft("deploy", "--workspace", str(workspace.root))
            apply_environment(workspace)
            start_worker(workspace, POOL, query_seconds=1)
            yield workspace
        finally:
            stop_worker(workspace, POOL)
            stop_server(workspace)


def with_gates(workspace: Workspace, minutes: float | None, **changes: object) -> None:
    conf = workspace.root / "conf" / "workspace.yaml"
    gates: list[dict[str, object]] = [
        {"kind": "min_metric", "floor": 0.5},
        {"kind": "beats_champion", "without_champion": "pass", "margin": 0.3},
        {"kind": "bundle_mb", "limit_mb": 1_000},
        {"kind": "latency_p95_ms", "limit_ms": 60_000, "n_requests": 60},
    ]
    gates += [{"kind": "human_approval", "timeout_minutes": minutes}] if minutes else []
    content = yaml.safe_load(conf.read_text(encoding="utf-8")) | {"gates": gates, "method": {"kind": "probe"}} | changes
    conf.write_text(yaml.safe_dump(content), encoding="utf-8")


def started(overrides: list[str]) -> UUID:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name("retrain/workspace")
        return client.create_flow_run_from_deployment(deployment.id, parameters={"overrides": overrides}).id


def wait_for(run: UUID, *states: str, seconds: float = 300) -> str:
    from prefect.client.orchestration import get_client

    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with get_client(sync_client=True) as client:
            state = client.read_flow_run(run).state
        if state is not None and state.name in states:
            return str(state.name)
        assert state is None or not state.is_final(), state
        time.sleep(1)
    raise AssertionError(f"{run} is {state}, not {states}")


def kept_record(workspace: Workspace, run: UUID) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((workspace.state / "runs" / f"{run}.json").read_bytes())
    return content


def test_approved_then_too_late(deployed: Workspace) -> None:
    run = started([])
    wait_for(run, "Suspended")
    waiting = kept_record(deployed, run)
    assert waiting["outcome"] == "waiting"
    assert Path(waiting["reports"]["run"]).is_file(), "a person has something to look at"
    server = running_server(deployed)
    assert server is not None
    if CHROMIUM is not None:
        page = page_in_browser(f"{server.ui_url}/runs/flow-run/{run}")
        for text in ("workspace-person", "Suspended", "Resume"):
            assert text in page, f"the run's page does not show {text}"
    assert git(deployed.root, "tag") == ""
    status = regraft("status", "--workspace", str(deployed.root))
    assert (status["last_run"]["run"], status["last_run"]["outcome"]) == (str(run), "waiting")
    answer = ("approve", str(run)[:8], "--by", "Ada", "--why", "looked at it", "--workspace", str(deployed.root))
    assert regraft(*answer) == {"run": str(run), "approve": True}
    wait_for(run, "Completed")
    done = kept_record(deployed, run)
    assert (done["outcome"], done["version"], done["started"]) == ("promoted", "v0.0.1", waiting["started"])
    assert done["decisions"][:-1] == waiting["decisions"], "decided on what was shown"
    for stage in ("train", "evaluate", "serve_once", "latency"):
        assert done["stages_seconds"][stage] == waiting["stages_seconds"][stage] > 0, "it was learnt or measured again"
    assert "Ada approved on" in done["decisions"][-1]["reason"]
    assert regraft(*answer, expected=2)["error"]["code"] == "configuration"
    (row,) = regraft("history", "--workspace", str(deployed.root))
    assert row["version"] == "v0.0.1"

    with_gates(deployed, minutes=0.1)
    late = started(["method={kind: probe, strengths: [0.01]}"])
    with pytest.raises(AssertionError, match="never resumed"):
        wait_for(late, "Completed")
    assert kept_record(deployed, late)["outcome"] == "waiting"
    with_gates(deployed, minutes=None)
    regraft("retrain", "--workspace", str(deployed.root))
    settled = kept_record(deployed, late)
    assert settled["outcome"] == "refused"
    assert "never resumed" in settled["reason"]
    assert refusals(deployed.root)[-1].bundle_id == settled["bundle"]
    assert not list((deployed.state / "approvals").glob("*.json"))
    assert len(regraft("history", "--workspace", str(deployed.root))) == 1
