"""Which endpoint a workspace has started. Imports no BentoML: `regraft status` reads it too."""

from __future__ import annotations

from pathlib import Path

from flows.background import ProcessRecord, is_alive, read_record
from pipelines.workspace import Workspace


class EndpointRecord(ProcessRecord):
    """An endpoint's process and address."""

    url: str


def record_path(workspace: Workspace) -> Path:
    """Where the record lies."""
    return workspace.serving / "endpoint.json"


def recorded_endpoint(workspace: Workspace) -> EndpointRecord | None:
    """The endpoint that this workspace started and whose process still runs."""
    record = read_record(record_path(workspace), EndpointRecord)
    return record if record and is_alive(record) else None
