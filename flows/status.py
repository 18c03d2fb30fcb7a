"""What a workspace is doing, read from its files alone: no Prefect, no torch, no DVC."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from flows.endpoint_record import EndpointRecord, recorded_endpoint
from flows.records import RunRecord, read_records
from flows.server_record import recorded_server
from flows.session import Session
from flows.trigger_orders import Orders, read_orders
from flows.trigger_rows import LatestRows, latest_rows
from pipelines.versioning.registry import ChampionRecord, champion


@dataclass(frozen=True)
class Status:
    """A workspace at one moment; what is None is not there (yet).

    Attributes:
        trigger: The last ten decisions about retrainings.
        orders: What a person said to the automation.
    """

    project: str
    champion: ChampionRecord | None
    endpoint: EndpointRecord | None
    prefect_ui: str | None
    last_run: RunRecord | None
    last_verdict: dict[str, Any] | None
    trigger: LatestRows
    orders: Orders

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "project": self.project,
            "champion": _champion_json(self.champion),
            "endpoint": self.endpoint.url if self.endpoint else None,
            "prefect_ui": self.prefect_ui,
            "last_run": self.last_run.model_dump(mode="json", include=_RUN_FIELDS) if self.last_run else None,
            "last_verdict": self.last_verdict,
            "trigger": {
                "holds": self.orders.model_dump(mode="json"),
                "decisions": [row.model_dump(mode="json") for row in self.trigger.rows],
                "n_damaged_rows": self.trigger.n_damaged,
            },
        }


_RUN_FIELDS = {"run", "trigger", "started", "finished", "outcome", "reason", "version", "accuracy"}


def read_status(session: Session) -> Status:
    """The workspace's champion, endpoint, Prefect server, last retraining and last verdict."""
    workspace = session.workspace
    server = recorded_server(workspace)
    runs = read_records(workspace)
    verdicts = sorted((workspace.reports / "monitor").glob("*/verdict.json"))
    return Status(
        project=session.config.project,
        champion=champion(workspace.root, session.config.project),
        endpoint=recorded_endpoint(workspace),
        prefect_ui=server.ui_url if server else None,
        last_run=runs[-1] if runs else None,
        last_verdict=_verdict(json.loads(verdicts[-1].read_bytes()), str(verdicts[-1].parent)) if verdicts else None,
        trigger=latest_rows(session),
        orders=read_orders(session),
    )


def _verdict(content: dict[str, Any], folder: str) -> dict[str, Any]:
    return {name: content[name] for name in ("verdict", "reason", "n_requests", "last_at")} | {"report": folder}


def _champion_json(record: ChampionRecord | None) -> dict[str, Any] | None:
    if record is None:
        return None
    promoted_at = record.promoted_at.isoformat()
    return {"version": record.version, "bundle": record.bundle_id, "promoted_at": promoted_at, "why": record.why}
