"""The form, what is shown above it, and real waiting on a real Prefect server: suspended, paused, answered, refused, too late."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from pydantic import ValidationError

from flows.environment import apply_environment
from flows.pages import percent
from flows.records import Accuracy
from flows.session import Session
from pipelines.config import ProjectConfig
from pipelines.core.errors import ConfigurationError, RefusedError
from tests.flows.conftest import CHECKOUT, Stack, make_workspace, preserved_environment, project_config, until
from tests.flows.test_records import record

_FLOWS = "tests/flows/fixtures/approval_flows.py"


@pytest.fixture(scope="module")
def prefect_loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Prefect with its home in a temporary folder, without a server."""
    with preserved_environment():
        apply_environment(make_workspace(tmp_path_factory.mktemp("loaded") / "workspace"))
        yield


def asking(config: ProjectConfig) -> ProjectConfig:
    gates = [{"kind": "goldens"}, {"kind": "human_approval", "timeout_minutes": 5}]
    return ProjectConfig.model_validate(config.model_dump() | {"gates": gates})


@pytest.mark.usefixtures("prefect_loaded")
def test_the_form_asks_for_a_yes_a_name_and_a_comment() -> None:
    from prefect._internal.pydantic.v2_schema import create_v2_schema

    from flows.approval import ApprovalForm

    form = ApprovalForm.with_initial_data(description="what is shown")
    schema = create_v2_schema(form.__name__, model_base=form)
    assert list(schema["properties"]) == ["approve", "name", "comment"]
    assert schema["required"] == ["name"]
    assert (schema["properties"]["approve"]["type"], schema["properties"]["approve"]["default"]) == ("boolean", False)
    assert form._description == "what is shown"


@pytest.mark.usefixtures("prefect_loaded")
@pytest.mark.parametrize("filled", [{"approve": True}, {"approve": True, "name": ""}, {"name": " "}, {"name": "A", "more": 1}])
def test_what_the_form_does_not_take(filled: dict[str, object]) -> None:
    from flows.approval import ApprovalForm

    with pytest.raises(ValidationError, match="1 validation error"):
        ApprovalForm(**filled)


@pytest.mark.usefixtures("prefect_loaded")
def test_an_untouched_switch_is_a_no() -> None:
    from flows.approval import ApprovalForm

    assert ApprovalForm(name="Ada").approve is False


@pytest.mark.usefixtures("prefect_loaded")
def test_what_a_person_is_shown() -> None:
    from flows.approval import evidence_text

    now, before = Accuracy(value=0.97, low=0.95, high=0.99, n=300), Accuracy(value=0.9, low=0.85, high=0.93, n=300)
    decision = {"gate": "min_metric", "condition": "accuracy *of* <b>", "outcome": "pass", "n": 300, "reason": "291 of 300\nare right"}
    shown = evidence_text(
        record(
            "r",
            bundle="0" * 16,
            dataset="1.dir",
            n_samples=1_200,
            champion_before="v0.0.3",
            decisions=[decision],
            accuracy=now,
            accuracy_by_domain={"scanner": now, "new": now},
            champion_accuracy_by_domain={"scanner": before},
            reports={"bundle_card": "/w/card.md"},
        )
    )
    assert "in place of v0.0.3" in shown
    assert "- **pass** accuracy \\*of\\* &lt;b> (n = 300): 291 of 300 are right" in shown
    assert f"- scanner (n = 300): {percent(now)}, champion {percent(before)}" in shown
    assert f"- new (n = 300): {percent(now)}\n" in shown
    assert "- bundle card: `/w/card.md`" in shown


@pytest.mark.usefixtures("prefect_loaded")
def test_an_approval_without_a_server_is_refused_before_anything_is_trained() -> None:
    from flows.approval import require_reachable_server

    require_reachable_server(project_config("toy"))
    with pytest.raises(ConfigurationError, match=r"human_approval, and no Prefect server.*regraft deploy"):
        require_reachable_server(asking(project_config("toy")))


@pytest.mark.usefixtures("prefect_loaded")
def test_an_answer_without_a_server(workspace: Any) -> None:
    from flows.answering import answer_run

    with pytest.raises(ConfigurationError, match=r"no Prefect server: this workspace has started none.*PREFECT_API_URL"):
        answer_run(Session(workspace, project_config("toy")), str(uuid4()), approve=True, name="Ada", comment="x")


def test_a_suspended_run_is_not_taken_for_a_dead_one() -> None:
    """It has no process, so no heartbeat: the automation that looks for silence would end it before anybody could answer."""
    from flows.automations import dead_runs_automation

    assert "prefect.flow-run.Suspended" in dead_runs_automation("toy", (uuid4(),)).trigger.expect


# With a real server and worker.


def start(stack: Stack, evidence: list[str], minutes: float) -> UUID:
    """A run of a deployment of the asking flow."""
    from prefect.client.orchestration import get_client

    from flows.deployments import FlowSources, deploy

    sources = FlowSources(CHECKOUT, retrain=f"{_FLOWS}:retrain_flow", monitor=f"{_FLOWS}:monitor_flow")
    made = deploy(stack.workspace, project_config("toy", cooldown_minutes=0.5), sources=sources)
    with get_client(sync_client=True) as client:
        run = client.create_flow_run_from_deployment(
            made.retrain_id, parameters={"trigger": {"kind": "person", "evidence": evidence, "minutes": minutes}}
        )
    return run.id


def state(run: UUID) -> tuple[str, str]:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        found = client.read_flow_run(run).state
    assert found is not None
    return found.type.value, found.name or ""


def told(stack: Stack) -> list[str]:
    return (stack.workspace.root / "told.txt").read_text().splitlines()


@pytest.fixture
def fresh(stack: Stack) -> Iterator[Stack]:
    """The stack without what an earlier test was told; afterwards the deployment is the small flow again."""
    from flows.deployments import deploy
    from tests.flows.conftest import SMALL_FLOWS

    (stack.workspace.root / "told.txt").unlink(missing_ok=True)
    yield stack
    deploy(stack.workspace, stack.config, sources=SMALL_FLOWS)


def answer(stack: Stack, run: UUID, approve: bool) -> str:
    from flows.answering import answer_run

    return answer_run(Session(stack.workspace, stack.config), str(run), approve=approve, name="Ada", comment="seen")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("approve", [True, False])
def test_a_deployments_run_is_suspended_and_runs_again_after_the_answer(fresh: Stack, approve: bool) -> None:
    import psutil

    run = start(fresh, ["e1"], 60)
    assert until(lambda: state(run) == ("PAUSED", "Suspended"), 120), state(run)
    assert until(lambda: not psutil.Process(fresh.worker.pid).children(recursive=True), 60), "a process is kept while a person thinks"
    assert told(fresh) == ["began"]
    before = datetime.now(UTC)
    assert answer(fresh, run, approve) == str(run)
    with pytest.raises(RefusedError, match=r"takes no answer: .*not paused"):
        answer(fresh, run, approve)
    assert until(lambda: state(run)[0] == "COMPLETED", 120), state(run)
    *begun, last = told(fresh)
    assert begun == ["began", "began"]
    said = json.loads(last.removeprefix("e1: "))
    assert (said["approve"], said["name"], said["comment"]) == (approve, "Ada", "seen")
    assert abs((datetime.fromisoformat(said["answered_at"]) - before).total_seconds()) < 10, "when it was given, not when it was read"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_other_evidence_is_another_question(fresh: Stack) -> None:
    run = start(fresh, ["e1", "e2"], 60)
    for _ in range(2):
        assert until(lambda: state(run) == ("PAUSED", "Suspended"), 120), state(run)
        answer(fresh, run, True)
        assert until(lambda: state(run)[0] != "PAUSED", 30)
    assert until(lambda: state(run)[0] == "COMPLETED", 120), state(run)
    assert [line.split(":")[0] for line in told(fresh)] == ["began", "began", "e1", "began", "e1", "e2"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_suspended_run_ends_when_its_time_is_over(fresh: Stack) -> None:
    run = start(fresh, ["e1"], 0.05)
    assert until(lambda: state(run)[0] == "FAILED", 120), state(run)
    assert told(fresh) == ["began"]
    with pytest.raises(RefusedError, match="takes no answer"):
        answer(fresh, run, True)
    with pytest.raises(ConfigurationError, match=r"server does not know"):
        answer(fresh, uuid4(), True)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("approve", [True, False, None])
def test_a_run_without_a_deployment_waits_in_its_process(fresh: Stack, approve: bool | None) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateName

    from tests.flows.fixtures.approval_flows import retrain_flow

    def answer_when_asked() -> None:
        wanted = FlowRunFilter(state=FlowRunFilterState(name=FlowRunFilterStateName(any_=["Paused"])))
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with get_client(sync_client=True) as client:
                runs = client.read_flow_runs(flow_run_filter=wanted)
            if runs:
                answer(fresh, runs[0].id, bool(approve))
                return
            time.sleep(0.5)

    helper = threading.Thread(target=answer_when_asked) if approve is not None else None
    if helper:
        helper.start()
    minutes = 2 if approve is not None else 0.05
    returned = retrain_flow(str(fresh.workspace.root), {"evidence": [f"paused-{str(approve).lower()}"], "minutes": minutes})
    if helper:
        helper.join()
    assert returned == ("nobody" if approve is None else "Ada")
    last = told(fresh)[-1].partition(": ")[2]
    assert last == "nobody" if approve is None else json.loads(last)["approve"] is approve


def test_the_fixture_is_where_the_deployment_looks_for_it() -> None:
    assert (Path(CHECKOUT) / _FLOWS).is_file()
