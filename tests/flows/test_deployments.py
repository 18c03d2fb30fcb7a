from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.automations import dead_runs_automation, drift_automation, drift_parameters
from flows.deployments import FlowSources, Schedules, deploy
from flows.environment import apply_environment
from flows.events import DRIFT_DETECTED, LABELS_READY
from flows.server import prefect_server
from flows.worker import ensure_work_pool
from pipelines.core.bundle import canonical_json
from pipelines.core.errors import ConfigurationError
from pipelines.workspace import Workspace
from tests.flows.conftest import CHECKOUT, SMALL_FLOWS, Stack, make_workspace, preserved_environment, project_config, until

ALL_FLOWS = ("retrain", "monitor", "batch", "reconcile")
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def prefect_loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Prefect with its home in a temporary folder, without a server."""
    with preserved_environment():
        apply_environment(make_workspace(tmp_path_factory.mktemp("loaded") / "workspace"))
        import prefect  # noqa: F401

        yield


def rendered(payload: dict[str, Any], event_id: str, name: str = DRIFT_DETECTED) -> dict[str, Any]:
    """What Prefect's server makes of the automation's parameters for such an event."""
    from prefect.utilities.schema_tools.hydration import HydrationContext, hydrate

    event = {"event": name, "id": event_id, "payload": payload}
    return hydrate(drift_parameters(), HydrationContext(render_jinja=True, raise_on_error=True, jinja_context={"event": event}))


@pytest.mark.usefixtures("prefect_loaded")
@settings(max_examples=30)
@given(payload=st.dictionaries(TEXT, JSON, max_size=5))
def test_the_evidence_reaches_the_retraining_unchanged(payload: dict[str, Any]) -> None:
    trigger = rendered(payload, "0b1c")["trigger"]
    assert trigger.keys() == {"kind", "event", "event_id", "evidence"}
    assert (trigger["kind"], trigger["event"], trigger["event_id"]) == ("drift", DRIFT_DETECTED, "0b1c")
    assert canonical_json(trigger["evidence"]) == canonical_json(payload)  # where 1, 1.0 and true differ


@pytest.mark.usefixtures("prefect_loaded")
def test_labels_that_are_worth_a_retraining_are_no_drift() -> None:
    trigger = rendered({}, "0b1c", LABELS_READY)["trigger"]
    assert (trigger["kind"], trigger["event"]) == ("labels", LABELS_READY)


@pytest.mark.usefixtures("prefect_loaded")
def test_text_that_looks_like_a_template_is_not_carried_out() -> None:
    payload = {"note": "{{ event.id }} {% for x in range(9) %}x{% endfor %}", "{{ 1 + 1 }}": 1}
    assert rendered(payload, "0b1c")["trigger"]["evidence"] == payload


@pytest.mark.usefixtures("prefect_loaded")
@pytest.mark.parametrize("minutes", [0, 0.5, 60])
def test_the_cool_down_of_the_conf_file_is_the_automations(minutes: float) -> None:
    automation = drift_automation("toy", uuid4(), minutes)
    assert automation.trigger.threshold == 1
    assert automation.trigger.within.total_seconds() == minutes * 60
    assert automation.trigger.match.model_dump() == {"prefect.resource.id": "regraft.model.toy"}


@pytest.mark.usefixtures("prefect_loaded")
def test_dead_runs_are_looked_for_among_the_projects_own() -> None:
    ids = (uuid4(), uuid4())
    trigger = dead_runs_automation("toy", ids).trigger
    assert trigger.match_related["prefect.resource.id"] == [f"prefect.deployment.{item}" for item in ids]
    assert {f"prefect.flow-run.{state}" for state in ("Completed", "Failed", "Crashed", "Cancelled")} <= trigger.expect


@pytest.mark.usefixtures("prefect_loaded")
@pytest.mark.parametrize(
    ("schedules", "name"),
    [(Schedules(retrain="every day"), "retrain"), (Schedules(monitor="* * * 13 *"), "monitor"), (Schedules(reconcile="* *"), "reconcile")],
)
def test_a_wrong_cron_expression_is_refused_before_anything_is_registered(workspace: Workspace, schedules: Schedules, name: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"the {name} schedule '.*', which is no cron expression.*five fields"):
        deploy(workspace, project_config("toy"), schedules=schedules, sources=SMALL_FLOWS)


def test_the_installed_flows_are_those_of_this_checkout() -> None:
    assert FlowSources.installed().root == CHECKOUT


@pytest.mark.usefixtures("prefect_loaded")
def test_prefect_yaml_says_the_same_as_deploy() -> None:
    content = yaml.safe_load((CHECKOUT / "prefect.yaml").read_text())
    retrain, monitor, batch, reconcile = content["deployments"]
    sources = FlowSources(CHECKOUT)
    entrypoints = [deployment["entrypoint"] for deployment in content["deployments"]]
    assert entrypoints == [sources.retrain, sources.monitor, sources.batch, sources.reconcile]
    wanted = drift_automation("{{ $REGRAFT_PROJECT }}", uuid4(), project_config("toy").trigger.cooldown_minutes)
    (trigger,) = retrain["triggers"]
    assert trigger["name"] == wanted.name
    assert set(trigger["expect"]) == wanted.trigger.expect
    assert trigger["match"] == wanted.trigger.match.model_dump()
    assert set(trigger["for_each"]) == wanted.trigger.for_each
    assert (trigger["threshold"], trigger["within"]) == (wanted.trigger.threshold, wanted.trigger.within.total_seconds())
    assert trigger["parameters"] == drift_parameters()
    assert batch["concurrency_limit"] == {"limit": 1, "collision_strategy": "ENQUEUE"}
    for deployment in (retrain, monitor, reconcile):
        assert deployment["concurrency_limit"] == {"limit": 1, "collision_strategy": "CANCEL_NEW"}
    for deployment in content["deployments"]:
        assert deployment["work_pool"]["name"] == "regraft-{{ $REGRAFT_PROJECT }}"


@pytest.mark.slow
def test_deploying_again_changes_only_what_is_different(stack: Stack) -> None:
    from prefect.client.orchestration import get_client

    def schedules() -> list[str]:
        return [item.schedule.cron for item in client.read_deployment(first.retrain_id).schedules]

    with get_client(sync_client=True) as client:
        config = project_config("again")
        first = deploy(stack.workspace, config, sources=SMALL_FLOWS, schedules=Schedules(retrain="0 3 * * 0"))
        updated = client.read_automation(first.drift_automation_id)
        assert schedules() == ["0 3 * * 0"]
        assert deploy(stack.workspace, config, sources=SMALL_FLOWS, schedules=Schedules(retrain="0 4 * * 0")) == first
        assert schedules() == ["0 4 * * 0"]
        assert deploy(stack.workspace, config, sources=SMALL_FLOWS) == first
        assert schedules() == [], "a schedule that is not asked for any more would go on retraining"
        assert client.read_automation(first.drift_automation_id) == updated

        changed = deploy(stack.workspace, project_config("again", cooldown_minutes=5), sources=SMALL_FLOWS)
        assert changed == first
        (automation,) = client.read_automations_by_name("regraft-again: drift starts a retraining")
        assert automation.id == first.drift_automation_id
        assert automation.trigger.within.total_seconds() == 300


@pytest.mark.slow
def test_what_a_deployment_carries(stack: Stack) -> None:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        retrain = client.read_deployment_by_name("retrain/toy")
    assert retrain.pull_steps == [{"prefect.deployments.steps.set_working_directory": {"directory": str(CHECKOUT)}}]
    assert retrain.parameters == {"workspace": str(stack.workspace.root), "trigger": {"kind": "person"}}
    assert retrain.global_concurrency_limit is not None
    assert retrain.global_concurrency_limit.limit == 1
    assert retrain.job_variables["env"]["DO_NOT_TRACK"] == "1"
    assert retrain.job_variables["env"]["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] == "30"
    assert retrain.job_variables["env"]["PREFECT_HOME"] == str(stack.workspace.prefect_home)
    assert stack.deployments.pool == retrain.work_pool_name == "regraft-toy"


@pytest.mark.slow
def test_surplus_automations_of_the_name_are_removed(stack: Stack) -> None:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        deployments = deploy(stack.workspace, project_config("surplus"), sources=SMALL_FLOWS)
        client.create_automation(drift_automation("surplus", deployments.retrain_id, 0))
        deploy(stack.workspace, project_config("surplus"), sources=SMALL_FLOWS)
        assert len(client.read_automations_by_name("regraft-surplus: drift starts a retraining")) == 1


@pytest.mark.slow
def test_a_project_of_another_workspace_is_not_overwritten(stack: Stack, tmp_path: Path) -> None:
    other = make_workspace(tmp_path / "other")
    message = r"deployment retrain/toy on this Prefect server, which belongs to the workspace .*give the project another name"
    with pytest.raises(ConfigurationError, match=message):
        deploy(other, stack.config, sources=SMALL_FLOWS)
    moved = make_workspace(tmp_path / "before")
    deploy(moved, project_config("moved"), sources=SMALL_FLOWS)
    moved.root.rename(tmp_path / "after")
    deploy(Workspace.at(tmp_path / "after"), project_config("moved"), sources=SMALL_FLOWS)


@pytest.mark.slow
def test_flows_that_are_not_there_are_named(stack: Stack, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"the flow flows/retrain\.py:retrain_flow, which is not in .*pip install -e"):
        deploy(stack.workspace, project_config("missing"), sources=FlowSources(tmp_path))


@pytest.mark.slow
def test_a_pool_that_exists_keeps_its_type(stack: Stack) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate

    with get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name="theirs", type="kubernetes"))
    assert ensure_work_pool("theirs") == "kubernetes"
    assert ensure_work_pool("ours") == "process" == ensure_work_pool("ours")


@pytest.mark.slow
@pytest.mark.usefixtures("clean_environment")
def test_prefects_own_tool_accepts_prefect_yaml(workspace: Workspace, tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    (checkout / "flows").mkdir(parents=True)
    for name in ("retrain", "monitor", "batch", "reconciling"):
        shutil.copy(CHECKOUT / "tests/flows/fixtures/small_flows.py", checkout / "flows" / f"{name}.py")
    shutil.copy(CHECKOUT / "prefect.yaml", checkout)
    apply_environment(workspace)
    with prefect_server(workspace):
        from prefect.client.orchestration import get_client

        ensure_work_pool("regraft-toy")
        environment = {**os.environ, "REGRAFT_PROJECT": "toy", "REGRAFT_WORKSPACE": str(workspace.root)}
        command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
        answer = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=False)
        assert answer.returncode == 0, answer.stdout + answer.stderr
        sources, automation = FlowSources(checkout), "regraft-toy: drift starts a retraining"
        with get_client(sync_client=True) as client:
            by_tool = {name: client.read_deployment_by_name(f"{name}/toy") for name in ALL_FLOWS}
            assert len(client.read_automations_by_name(automation)) == 1
            deployments = deploy(workspace, project_config("toy"), sources=sources)
            assert len(client.read_automations_by_name(automation)) == 1, "one event would start two retrainings"
            by_us = {name: client.read_deployment_by_name(f"{name}/toy") for name in ALL_FLOWS}
    assert deployments.retrain_id == by_tool["retrain"].id, "it is the same deployment, whoever registers it"
    for flow in ALL_FLOWS:
        for name in ("pull_steps", "parameters", "work_pool_name", "tags", "entrypoint", "concurrency_options"):
            assert getattr(by_tool[flow], name) == getattr(by_us[flow], name), (flow, name)


@pytest.mark.slow
def test_a_schedule_fires_and_the_worker_carries_the_run_out(stack: Stack) -> None:
    seen = stack.workspace.root / "monitored"
    seen.unlink(missing_ok=True)
    deploy(stack.workspace, stack.config, sources=SMALL_FLOWS, schedules=Schedules(monitor="* * * * *"))
    try:
        assert until(seen.exists, seconds=120), "the minute has passed and nothing ran"
    finally:
        deploy(stack.workspace, stack.config, sources=SMALL_FLOWS)


@pytest.mark.slow
def test_a_cron_schedule_makes_runs(stack: Stack) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterDeploymentId

    deployments = deploy(stack.workspace, project_config("cron"), sources=SMALL_FLOWS, schedules=Schedules(retrain="0 3 * * 0"))
    wanted = FlowRunFilter(deployment_id=FlowRunFilterDeploymentId(any_=[deployments.retrain_id]))
    with get_client(sync_client=True) as client:
        assert until(lambda: bool(client.read_flow_runs(flow_run_filter=wanted)), seconds=90), "no run is scheduled: see the server's log"
        run = client.read_flow_runs(flow_run_filter=wanted)[0]
        deploy(stack.workspace, project_config("cron"), sources=SMALL_FLOWS)
        left = client.read_flow_runs(flow_run_filter=wanted)
    assert run.parameters == {"workspace": str(stack.workspace.root), "trigger": {"kind": "schedule"}}
    assert run.expected_start_time is not None
    assert (run.expected_start_time.hour, run.expected_start_time.weekday()) == (3, 6)
    assert run.expected_start_time > datetime.now(UTC)
    assert left == [], "runs of a schedule that was removed would still start"
