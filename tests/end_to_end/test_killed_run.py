"""A deployed retraining whose process and worker are killed with -9: noticed, marked, started again, and it skips what was done.

One server and one workspace for the whole module: the batch deployment and the pages in Chromium are looked at on it, too.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import psutil
import pytest
import yaml

from flows.environment import apply_environment
from flows.server import running_server, stop_server
from flows.worker import start_worker, stop_worker
from pipelines.workspace import Workspace
from tests.end_to_end.browser import CHROMIUM, page_in_browser
from tests.end_to_end.digits_workspace import two_digits_workspace
from tests.end_to_end.test_retrain import environment, regraft
from tests.flows.conftest import preserved_environment, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1_800)]

POOL = "regraft-workspace"
_DEAD_AFTER_SECONDS = 60  # two heartbeats


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """Real digits, deployments on a server of the workspace's own, a fine-tuning that takes a while."""
    workspace = two_digits_workspace(tmp_path_factory.mktemp("killed"))
    conf = workspace.root / "conf" / "workspace.yaml"
    gates = [{"kind": "min_metric", "floor": 0.5}, {"kind": "beats_champion", "without_champion": "pass", "margin": 0.3}]
    conf.write_text(yaml.safe_dump(yaml.safe_load(conf.read_text(encoding="utf-8")) | {"gates": gates}), encoding="utf-8")
    with preserved_environment():
        os.environ.update(environment())
        try:
            regraft("deploy", "--workspace", str(workspace.root), "--reconcile-cron", "")
            apply_environment(workspace)
            yield workspace
        finally:
            stop_worker(workspace, POOL)
            stop_server(workspace)


def start(deployment: str, parameters: dict[str, Any]) -> UUID:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        found = client.read_deployment_by_name(deployment)
        return client.create_flow_run_from_deployment(found.id, parameters=parameters).id


def state_of(run: UUID) -> str:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        state = client.read_flow_run(run).state
    return "" if state is None or state.name is None else state.name


def logs_of(run: UUID) -> str:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId

    with get_client(sync_client=True) as client:
        lines = client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run])), limit=200)
    return "\n".join(line.message for line in lines)[-4_000:]


def ended(run: UUID, seconds: float) -> str:
    assert until(lambda: state_of(run) in ("Completed", "Failed", "Crashed", "Cancelled", "TimedOut"), seconds), state_of(run)
    return state_of(run)


def kill_9(workspace: Workspace, pid: int) -> None:
    """The worker first: it would say itself that its run's process was killed."""
    worker = psutil.Process(pid)
    killed = [worker, *worker.children(recursive=True)]
    for process in killed:
        process.kill()
    _, alive = psutil.wait_procs(killed, timeout=30)  # a killed process is there until its parent has taken note
    assert not alive
    assert not stop_worker(workspace, POOL)


def test_kill_9_of_run_and_worker_then_the_reconciler_brings_it_to_its_end(deployed: Workspace) -> None:
    method = "method={kind: fine_tune, epochs: 12}"
    worker = start_worker(deployed, POOL, query_seconds=1)
    run = start("retrain/workspace", {"overrides": [method]})
    store = deployed.state / "store"
    assert until(lambda: bool(list((store / "train").glob(".*-*"))), 300), f"{state_of(run)}: {logs_of(run)}"
    kill_9(deployed, worker.pid)
    killed_at = time.monotonic()
    done_before = {path.parent for path in store.glob("*/*/stage.json")}
    assert {path.parent.name for path in done_before} >= {"manifest", "validate", "split", "select"}
    assert not list(store.glob("train/*/stage.json"))
    assert state_of(run) == "Running", "nobody has noticed yet"

    start_worker(deployed, POOL, query_seconds=1)
    time.sleep(max(0.0, _DEAD_AFTER_SECONDS + 5 - (time.monotonic() - killed_at)))
    reconciled = start("reconcile/workspace", {"dead_after_seconds": _DEAD_AFTER_SECONDS})
    assert ended(reconciled, 120) == "Completed", logs_of(reconciled)
    assert ended(run, 400) == "Completed", logs_of(run)
    record = json.loads((deployed.state / "runs" / f"{run}.json").read_bytes())
    assert (record["run"], record["outcome"], record["version"]) == (str(run), "promoted", "v0.0.1")
    for stage in ("manifest", "validate", "split", "select"):
        assert record["stages_seconds"][stage] == 0, f"{stage} was done again"
    assert record["stages_seconds"]["train"] > 0
    messages = states_of(run)
    assert any("Found by the reconciler" in message for message in messages)
    assert any("Started again by the reconciler after a crash (1 of at most 2 times)" in message for message in messages)


def states_of(run: UUID) -> list[str]:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        return [state.message or "" for state in client.read_flow_run_states(run)]


def test_a_batch_by_its_deployment(deployed: Workspace) -> None:
    source, out = deployed.root.parent / "source", deployed.root.parent / "predictions.csv"
    run = start("batch/workspace", {"inputs": str(source), "out": str(out)})
    assert ended(run, 120) == "Completed", logs_of(run)
    table = pd.read_csv(out)
    assert len(table) == 300
    assert np.mean(table["label"] == table["path"].str.partition("/")[0]) > 0.9


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; with it this would have shown that people see the pages")
def test_the_pages_in_a_browser(deployed: Workspace) -> None:
    server = running_server(deployed)
    assert server is not None
    page = page_in_browser(f"{server.ui_url}/deployments")
    for text in ("retrain", "monitor", "batch", "reconcile"):
        assert text in page, f"the page of the deployments does not show {text}"
