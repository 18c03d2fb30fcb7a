"""What Regraft tells the world: Prefect events with the evidence as their payload."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from pydantic import JsonValue, TypeAdapter, ValidationError

from pipelines.core.bundle import canonical_json
from pipelines.core.errors import RegraftError

if TYPE_CHECKING:
    from prefect.events.schemas.events import Event

DRIFT_DETECTED = "regraft.drift.detected"
MODEL_PROMOTED = "regraft.model.promoted"
MODEL_REFUSED = "regraft.model.refused"
DATA_QUALITY_ALARM = "regraft.data_quality.alarm"
LABELS_READY = "regraft.labels.ready"

_STORED_DEADLINE_SECONDS = 60.0
_RESEND_AFTER_SECONDS = 15.0  # the server writes events every 5 s
_MAX_PAYLOAD_BYTES = 1_000_000  # Prefect refuses events above 1.5 MB


@dataclass(frozen=True)
class EmittedEvent:
    """An event that the server has stored.

    Attributes:
        id: Prefect's.
        name: For example `regraft.drift.detected`.
        project: Whose model.
        occurred: When it was emitted.
        payload: The evidence.
    """

    id: UUID
    name: str
    project: str
    occurred: datetime
    payload: Mapping[str, JsonValue]


def model_resource(project: str) -> str:
    """The Prefect resource that the events of a project's model are about."""
    return f"regraft.model.{project}"


def emit_drift_detected(project: str, payload: Mapping[str, JsonValue]) -> EmittedEvent:
    """Tells that a window of traffic has drifted; the project's automation turns it into a retraining.

    Args:
        project: Whose model.
        payload: The evidence; it reaches the retraining as `trigger["evidence"]`.

    Raises:
        RegraftError: The payload is no JSON or too large, or the server did not store the event in time.
    """
    return _emit(DRIFT_DETECTED, project, payload)


def emit_model_promoted(project: str, payload: Mapping[str, JsonValue]) -> EmittedEvent:
    """Tells that a candidate has become the champion. See `emit_drift_detected`."""
    return _emit(MODEL_PROMOTED, project, payload)


def emit_model_refused(project: str, payload: Mapping[str, JsonValue]) -> EmittedEvent:
    """Tells that a gate refused a candidate. See `emit_drift_detected`."""
    return _emit(MODEL_REFUSED, project, payload)


def emit_data_quality_alarm(project: str, payload: Mapping[str, JsonValue]) -> EmittedEvent:
    """Tells that the inputs are broken; no automation turns that into a retraining. See `emit_drift_detected`."""
    return _emit(DATA_QUALITY_ALARM, project, payload)


def emit_labels_ready(project: str, payload: Mapping[str, JsonValue]) -> EmittedEvent:
    """Tells that so many labels have come in that a retraining is worth while without drift. See `emit_drift_detected`."""
    return _emit(LABELS_READY, project, payload)


def latest_drift_event(project: str, since: datetime) -> EmittedEvent | None:
    """The newest drift event of the project that the server has stored.

    Args:
        project: Whose model.
        since: With a time zone; older events do not count.
    """
    from prefect.client.orchestration import get_client
    from prefect.events.filters import EventFilter, EventNameFilter, EventOccurredFilter, EventResourceFilter

    wanted = EventFilter(
        occurred=EventOccurredFilter(since=since),
        event=EventNameFilter(name=[DRIFT_DETECTED]),
        resource=EventResourceFilter(id=[model_resource(project)]),
    )
    with get_client(sync_client=True) as client:
        events = client.read_events(wanted, limit=1).events  # the newest first
    return EmittedEvent(events[0].id, DRIFT_DETECTED, project, events[0].occurred, events[0].payload) if events else None


def _emit(name: str, project: str, payload: Mapping[str, JsonValue]) -> EmittedEvent:
    content = _json_payload(name, payload)
    from prefect.events import emit_event

    resource = {"prefect.resource.id": model_resource(project), "prefect.resource.name": project}
    event = emit_event(event=name, resource=resource, payload=content)
    if event is None:
        raise RegraftError(
            got=f"an event {name} that Prefect could not send.",
            allowed="a Prefect server that can be reached.",
            next_step="read the log above; check PREFECT_API_URL and the server, then run the command again.",
        )
    _wait_until_stored(event)
    return EmittedEvent(event.id, name, project, event.occurred, content)


def _json_payload(name: str, payload: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    try:
        content = TypeAdapter(dict[str, JsonValue]).validate_python(dict(payload))
        size = len(canonical_json(content))
    except ValueError as error:
        raise RegraftError(
            got=f"a payload of {name} that is no JSON: {_problems(error)}.",
            allowed="text, finite numbers, booleans, null, and lists and mappings of them.",
            next_step="this is a bug in Regraft: report it with this message.",
        ) from error
    if size > _MAX_PAYLOAD_BYTES:
        raise RegraftError(
            got=f"a payload of {name} with {size:,} bytes.",
            allowed=f"at most {_MAX_PAYLOAD_BYTES:,} bytes.",
            next_step="put the details into a report and its path into the payload.",
        )
    return content


def _problems(error: ValueError) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    return "; ".join(
        f"{'.'.join(map(str, item['loc']))}: {item['msg']} (got {item['input']!r})" for item in error.errors(include_url=False)
    )


def _wait_until_stored(event: Event) -> None:
    # An event travels through a queue, a socket and the server's memory; only the answer of the database says that it arrived.
    from prefect.events.worker import EventsWorker

    started = time.monotonic()
    resent = False
    while not _is_stored(event.id):
        waited = time.monotonic() - started
        if waited > _STORED_DEADLINE_SECONDS:
            raise RegraftError(
                got=f"an event {event.event} that the Prefect server has not stored after {waited:.0f} s.",
                allowed="an event that is stored: one that is lost starts no retraining.",
                next_step="read the server's log for `database is locked` (PostgreSQL does not have it), then run the command again.",
            )
        if waited > _RESEND_AFTER_SECONDS and not resent:
            EventsWorker.instance().send(event)  # with the same id: the server keeps one
            resent = True
        time.sleep(0.5)


def _is_stored(event_id: UUID) -> bool:
    from prefect.client.orchestration import get_client
    from prefect.events.filters import EventFilter, EventIDFilter

    with get_client(sync_client=True) as client:
        return bool(client.read_events(EventFilter(id=EventIDFilter(id=[event_id])), limit=1).events)
