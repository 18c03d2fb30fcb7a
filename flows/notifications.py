"""Messages to people, through a notification block of the Prefect server (Slack, Teams, mail, any webhook), sent by automations.

The server sends them, not the run: a run that was killed tells nobody anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from flows.events import DATA_QUALITY_ALARM, MODEL_PROMOTED, MODEL_REFUSED, model_resource
from pipelines.core.errors import ConfigurationError

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.events.schemas.automations import AutomationCore

_TOLD_STATES = ("Failed", "Crashed", "TimedOut", "Suspended", "Paused")
_TOLD_EVENTS = (MODEL_PROMOTED, MODEL_REFUSED, DATA_QUALITY_ALARM)
_MADE_BY = "Made by `regraft deploy`, from operation.notify_block."
_RUN_TEXT = """Run {{ flow_run.name }} of {{ flow.name }} is {{ flow_run.state.name }}: {{ flow_run.state.message or "no message" }}
{{ flow_run | ui_url }}"""
# Two steps: a template that asks something missing for its parts fails, and its message is lost.
_EVENT_TEXT = (
    "{% set verdict = event.payload.verdict or {} %}"
    "{{ event.payload.reason or (verdict.data_quality or {}).reason or verdict.reason or 'no reason was given' }}"
)


def runs_notification_name(project: str) -> str:
    """Of the automation that tells of runs."""
    return f"regraft-{project}: tells of runs that failed or wait for a person"


def model_notification_name(project: str) -> str:
    """Of the automation that tells of decisions and alarms."""
    return f"regraft-{project}: tells of promotions, refusals and data alarms"


def notification_block_id(client: SyncPrefectClient, block: str) -> UUID:
    """The id of a block that the team has saved on the server.

    Args:
        client: Of the server.
        block: `TYPE/NAME`, as in the conf file.

    Raises:
        ConfigurationError: There is no such block.
    """
    from prefect.exceptions import ObjectNotFound

    kind, _, name = block.partition("/")
    try:
        return client.read_block_document_by_name(name, kind, include_secrets=False).id
    except ObjectNotFound as error:
        raise ConfigurationError(
            got=f"operation.notify_block: {block}, which is not on this Prefect server.",
            allowed="a notification block that is saved there, as TYPE/NAME; its type as `prefect block type ls` writes it.",
            next_step="save it on the server's page Blocks, or with Python (docs/guides/prefect.md), then run `regraft deploy` again.",
        ) from error


def notification_automations(project: str, block_id: UUID, deployment_ids: Sequence[UUID]) -> list[AutomationCore]:
    """The automations that send messages.

    Args:
        project: Whose runs and model.
        block_id: Of `notification_block_id`.
        deployment_ids: Only runs of these are told of.
    """
    from prefect.events.actions import SendNotification
    from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture

    runs = EventTrigger(
        posture=Posture.Reactive,
        expect={f"prefect.flow-run.{state}" for state in _TOLD_STATES},
        match={"prefect.resource.id": "prefect.flow-run.*"},
        match_related={
            "prefect.resource.role": "deployment",
            "prefect.resource.id": [f"prefect.deployment.{item}" for item in deployment_ids],
        },
        threshold=1,
        within=timedelta(0),
    )
    model = EventTrigger(
        posture=Posture.Reactive,
        expect=set(_TOLD_EVENTS),
        match={"prefect.resource.id": model_resource(project)},
        threshold=1,
        within=timedelta(0),
    )
    subject_of_run, subject_of_event = f"regraft {project}: {{{{ flow_run.state.name }}}}", f"regraft {project}: {{{{ event.event }}}}"
    return [
        AutomationCore(
            name=runs_notification_name(project),
            description=_MADE_BY,
            trigger=runs,
            actions=[SendNotification(block_document_id=block_id, subject=subject_of_run, body=_RUN_TEXT)],
        ),
        AutomationCore(
            name=model_notification_name(project),
            description=_MADE_BY,
            trigger=model,
            actions=[SendNotification(block_document_id=block_id, subject=subject_of_event, body=_EVENT_TEXT)],
        ),
    ]


def put_notifications(client: SyncPrefectClient, project: str, block: str | None, deployment_ids: Sequence[UUID]) -> tuple[UUID, ...]:
    """Makes the project's messages as the conf file says, and takes away those that it no longer asks for.

    Returns:
        Ids of the automations; none where nobody is told.
    """
    from flows.automations import put_automation, remove_automation

    if block is None:
        for name in (runs_notification_name(project), model_notification_name(project)):
            remove_automation(client, name)
        return ()
    wanted = notification_automations(project, notification_block_id(client, block), deployment_ids)
    return tuple(put_automation(client, automation) for automation in wanted)
