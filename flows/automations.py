"""The two automations of a project: drift starts a retraining, and a run that nobody carries out any more is marked as crashed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from flows.events import DRIFT_DETECTED, LABELS_READY, model_resource

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.events.schemas.automations import AutomationCore

DEAD_AFTER_SECONDS = 300  # deployments set a heartbeat of 30 s; a server whose SQLite file is busy has been seen to fall a minute behind


def drift_automation_name(project: str) -> str:
    """Of the automation that turns drift into a retraining."""
    return f"regraft-{project}: drift starts a retraining"


def dead_runs_automation_name(project: str) -> str:
    """Of the automation that marks dead runs as crashed."""
    return f"regraft-{project}: runs without a heartbeat are crashed"


def drift_parameters() -> dict[str, Any]:
    """Parameters that an event gives to the retraining, as Prefect's templates.

    The result is `{"trigger": {"kind": "drift" or "labels", "event": name, "event_id": id, "evidence": the event's payload}}`. The payload
    keeps its types, because it goes through JSON. The id needs the template kind: as a plain string, Prefect fails on the UUID and starts
    no run.
    """
    kind = {"__prefect_kind": "jinja", "template": f"{{{{ 'labels' if event.event == '{LABELS_READY}' else 'drift' }}}}"}
    name = {"__prefect_kind": "jinja", "template": "{{ event.event }}"}
    evidence = {"__prefect_kind": "json", "value": {"__prefect_kind": "jinja", "template": "{{ event.payload | tojson }}"}}
    event_id = {"__prefect_kind": "jinja", "template": "{{ event.id }}"}
    return {"trigger": {"kind": kind, "event": name, "event_id": event_id, "evidence": evidence}}


def drift_automation(project: str, retrain_id: UUID, cooldown_minutes: float) -> AutomationCore:
    """Starts the retraining at the model's first event of drift, or of labels that are worth one, then not until the cool-down is over.

    With a threshold of 1, `within` is a cool-down: an event inside it is counted and starts nothing.

    Args:
        project: Whose model.
        retrain_id: The deployment to run.
        cooldown_minutes: 0 starts a run at every event.
    """
    from prefect.events.actions import RunDeployment
    from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture

    return AutomationCore(
        name=drift_automation_name(project),
        description="Made by `regraft deploy`; changes made here are overwritten by the next one.",
        trigger=EventTrigger(
            posture=Posture.Reactive,
            expect={DRIFT_DETECTED, LABELS_READY},
            match={"prefect.resource.id": model_resource(project)},
            for_each={"prefect.resource.id"},
            threshold=1,
            within=timedelta(minutes=cooldown_minutes),
        ),
        actions=[RunDeployment(source="selected", deployment_id=retrain_id, parameters=drift_parameters())],
    )


def dead_runs_automation(project: str, deployment_ids: Sequence[UUID], dead_after_seconds: int = DEAD_AFTER_SECONDS) -> AutomationCore:
    """Marks runs whose process died together with its worker as crashed; without it they stay RUNNING for ever.

    Args:
        project: Whose runs.
        deployment_ids: Only runs of these are touched.
        dead_after_seconds: Silence that counts as death; several heartbeats long.
    """
    from prefect.client.schemas.objects import StateType
    from prefect.events.actions import ChangeFlowRunState
    from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture

    # A suspended run has no process and no heartbeat: it waits for a person's approval.
    ends = {f"prefect.flow-run.{state}" for state in ("Completed", "Failed", "Cancelled", "Crashed", "Suspended")}
    return AutomationCore(
        name=dead_runs_automation_name(project),
        description="Made by `regraft deploy`. A warning that the run is in a terminal state already is harmless.",
        trigger=EventTrigger(
            posture=Posture.Proactive,
            match={"prefect.resource.id": "prefect.flow-run.*"},
            match_related={
                "prefect.resource.role": "deployment",
                "prefect.resource.id": [f"prefect.deployment.{item}" for item in deployment_ids],
            },
            for_each={"prefect.resource.id"},
            after={"prefect.flow-run.heartbeat"},
            expect={"prefect.flow-run.heartbeat", *ends},
            threshold=1,
            within=timedelta(seconds=dead_after_seconds),
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.CRASHED, message=f"No heartbeat for {dead_after_seconds} s: its process and its worker are gone."
            )
        ],
    )


def put_automation(client: SyncPrefectClient, wanted: AutomationCore) -> UUID:
    """Makes the automation, or brings the one of that name in line; an unchanged one is left alone, for a change restarts its cool-down.

    Returns:
        Its id, which stays over re-deployments.
    """
    same_name = client.read_automations_by_name(wanted.name)
    for surplus in same_name[1:]:
        client.delete_automation(surplus.id)
    if not same_name:
        return client.create_automation(wanted)
    present = same_name[0]
    if _comparable(present) != _comparable(wanted):
        client.update_automation(present.id, wanted)
    return present.id


def remove_automation(client: SyncPrefectClient, name: str) -> None:
    """Removes every automation of that name; none is fine, too."""
    for automation in client.read_automations_by_name(name):
        client.delete_automation(automation.id)


def _comparable(automation: AutomationCore) -> dict[str, Any]:
    content = automation.model_dump(mode="json", include={"name", "description", "enabled", "trigger", "actions"})
    trigger = content["trigger"]
    trigger.pop("id", None)  # the server's own
    for name in ("expect", "after", "for_each"):  # sets, in any order
        trigger[name] = sorted(trigger[name])
    return content
