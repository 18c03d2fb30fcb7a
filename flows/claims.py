"""Which run has taken up an alarm, so that an alarm is learnt from once, however often it arrives.

Prefect can lose an event (the reconciler then starts the run itself) and can be minutes late with it (the automation then starts a second
one). Neither knows of the other, so the run itself asks, under the workspace's lock, when it begins.
A run that is started again after a crash, or after a person's answer, keeps its id, and with it what it has taken up.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.workspace import Workspace


def alarm_of(trigger: Mapping[str, Any]) -> str | None:
    """The name of the alarm that started a run: its report's folder, or the event's id; None where no alarm did.

    Args:
        trigger: `kind`, and for drift and labels `event_id` and `evidence`.
    """
    if trigger.get("kind") not in ("drift", "labels"):
        return None
    evidence = trigger.get("evidence")
    report = evidence.get("report") if isinstance(evidence, Mapping) else None
    event = trigger.get("event_id")
    return Path(str(report)).parent.name if report else str(event) if event else None


def take_up(workspace: Workspace, alarm: str, run: str) -> str:
    """Notes that a run learns from an alarm, where none has so far; to be called under the workspace's lock.

    Args:
        workspace: Whose alarm.
        alarm: Of `alarm_of`.
        run: Id of the flow run.

    Returns:
        The run that has it: `run`, or an earlier one.
    """
    owner = taken_up_by(workspace, alarm)
    if owner is not None:
        return owner
    path = _path(workspace, alarm)
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = path.with_suffix(".part")
    staging.write_text(run, encoding="utf-8")
    staging.replace(path)
    return run


def taken_up_by(workspace: Workspace, alarm: str) -> str | None:
    """The run that has taken up an alarm; None where none has."""
    try:
        return _path(workspace, alarm).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def _path(workspace: Workspace, alarm: str) -> Path:
    # An event's payload comes from outside: no part of it becomes a path.
    return workspace.state / "alarms" / f"{hashlib.sha256(alarm.encode()).hexdigest()[:32]}.txt"
