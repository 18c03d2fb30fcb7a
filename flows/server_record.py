"""Which Prefect server a workspace has started. Imports no Prefect: the environment must be known before it."""

from __future__ import annotations

from pathlib import Path

from flows.background import ProcessRecord, is_alive, read_record
from pipelines.workspace import Workspace

HOST = "127.0.0.1"


class ServerRecord(ProcessRecord):
    """A server's process and its port on the loopback interface."""

    port: int

    @property
    def ui_url(self) -> str:
        """The page for a browser."""
        return f"http://{HOST}:{self.port}"

    @property
    def api_url(self) -> str:
        """The address for Prefect's clients."""
        return f"{self.ui_url}/api"


def record_path(workspace: Workspace) -> Path:
    """Where the record lies."""
    return workspace.prefect_home / "server.json"


def recorded_server(workspace: Workspace) -> ServerRecord | None:
    """The server that this workspace started and whose process still runs, busy or not."""
    record = read_record(record_path(workspace), ServerRecord)
    return record if record and is_alive(record) else None
