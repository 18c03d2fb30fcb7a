"""Two models of one machine, each with its deployments and its worker on one Prefect server: they are trained one after the other."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import datetime
from uuid import UUID

import pytest
import yaml

from flows.device_lock import alone_on
from flows.device_slots import limit_name
from flows.environment import API_URL, OWN_API_URL, apply_environment
from flows.server import running_server, stop_server
from flows.worker import pool_name, start_worker, stop_worker
from pipelines.workspace import Workspace
from tests.end_to_end.digits_workspace import two_digits_workspace
from tests.end_to_end.test_killed_run import ended, logs_of, start
from tests.end_to_end.test_retrain import environment, regraft
from tests.flows.conftest import preserved_environment, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1_800)]

METHOD = {"kind": "fine_tune", "epochs": 6}
GATES = [{"kind": "min_metric", "floor": 0.5}]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Workspace]]:
    """As a user makes them: `regraft init`, `regraft deploy`, the second with the server of the first."""
    root = tmp_path_factory.mktemp("pair")
    workspaces = [two_digits_workspace(root, name) for name in ("cats", "dogs")]
    with preserved_environment():
        os.environ.update(environment())
        try:
            for workspace in workspaces:
                deployed(workspace)
                apply_environment(workspace)
                start_worker(workspace, pool_name(workspace.root.name), query_seconds=1)
                server = running_server(workspaces[0])
                assert server is not None
                os.environ.pop(OWN_API_URL, None)
                os.environ[API_URL] = f"{server.ui_url}/api"  # as a user names it for the second workspace
            yield workspaces
        finally:
            for workspace in workspaces:
                stop_worker(workspace, pool_name(workspace.root.name))
            stop_server(workspaces[0])


def deployed(workspace: Workspace) -> None:
    conf = next((workspace.root / "conf").glob("*.yaml"))
    content = yaml.safe_load(conf.read_text(encoding="utf-8")) | {"gates": GATES, "method": METHOD}
    conf.write_text(yaml.safe_dump(content), encoding="utf-8")
    regraft("deploy", "--workspace", str(workspace.root), "--reconcile-cron", "")


def training_span(workspace: Workspace) -> tuple[float, float]:
    """When the fine-tuning began and ended, by its own clock, which knows of no lock."""
    (costs,) = (workspace.state / "store" / "train").glob("*/costs.json")
    end = costs.stat().st_mtime
    return end - sum(json.loads(costs.read_bytes()).values()), end


def step_span(run: UUID, name: str) -> tuple[datetime, datetime]:
    """When Prefect says that a step of the run began and ended."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

    with get_client(sync_client=True) as client:
        steps = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run])))
    (step,) = (step for step in steps if step.name.rpartition("-")[0] == name)
    assert step.start_time is not None
    assert step.end_time is not None
    return step.start_time, step.end_time


def test_two_retrainings_at_once_are_trained_one_after_the_other(pair: list[Workspace]) -> None:
    # A training of somebody without a server holds the file, so that the two surely meet.
    with alone_on("cpu", 5, "a training by hand"):
        runs = [start(f"retrain/{workspace.root.name}", {}) for workspace in pair]
        # The name comes with the server's events, seconds after the place in the queue.
        assert until(lambda: any(f"UTC, holds {limit_name('cpu')}" in logs_of(run) for run in runs), 300), [logs_of(run) for run in runs]
    for run, workspace in zip(runs, pair, strict=True):
        assert ended(run, 600) == "Completed", logs_of(run)
        record = json.loads((workspace.state / "runs" / f"{run}.json").read_bytes())
        assert (record["outcome"], record["version"]) == ("promoted", "v0.0.1")

    first, second = sorted(zip(pair, runs, strict=True), key=lambda item: training_span(item[0]))
    assert training_span(first[0])[1] <= training_span(second[0])[0], "both trained at once"
    assert step_span(second[1], "train")[0] < step_span(first[1], "train")[1], "they never met, so nothing was shown"
    said = logs_of(second[1])
    assert f"the run {first[0].root.name}-person ({first[1]}), since" in said, said
    assert f"holds {limit_name('cpu')}, so this one waits for its turn" in said
    assert "a training by hand, process" in logs_of(first[1])
    assert limit_name("cpu") not in logs_of(first[1])
