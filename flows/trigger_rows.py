"""What was decided about retrainings, and why: a row for each decision, each refused or failed attempt, and each word of a person.

`.regraft/trigger/PROJECT.jsonl`, one JSON object a line, only ever added to. A process that is killed while it writes leaves a torn last
line; it is passed over and counted, and the next row begins a new line. The policy reads here what was started and what was refused, so
the file cannot be made again: without it the cool-down, the weekly budget and the refused data are forgotten.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout
from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from flows.session import Session
from monitoring.trigger.conditions import DRIFT_ENDS_AFTER
from monitoring.trigger.decision import Action, Condition
from pipelines.core.errors import RefusedError

ASKED_BY_MONITOR = "monitor"
_LOCK_SECONDS = 30
_N_LOOKED_AT = 500
# The latest rows are looked for in this much of the end of the file.
_TAIL_BYTES = 4_000_000
_ATTEMPTS = ("retrain", "adapt", "refused", "failed")
# Of rows that the policy reads back; whatever else is in a line, it holds one of these.
_KEPT_ACTIONS = tuple(f'"action":"{action}"'.encode() for action in _ATTEMPTS)


class TriggerRow(BaseModel):
    """One row.

    Attributes:
        at: When.
        asked_by: `monitor`, which only looks; the kind of the run that would start (`drift`, `schedule`, …); or `person`.
        run: Of Prefect; empty outside of one.
        action: What was decided; `refused`: a gate refused the candidate of this run; `failed`: an error
            ended it before that; `stop`, `snooze`, `resume`: what a person said.
        reason: For people.
        verdict, window, bundle: Of the window that was judged; None where none was.
        drift_since: Of a drift, when it began.
        n_new_labels: None where they were not counted.
        dataset: Digest of the data that a retraining would learn from, or has learned from; None where it is not known yet.
        settings: Digest of how it is learned and judged: other settings make another attempt of the same data.
        conditions: All that were looked at.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    at: AwareDatetime
    asked_by: str
    run: str = ""
    action: Action | Literal["refused", "failed", "stop", "snooze", "resume"]
    reason: str
    verdict: str | None = None
    window: str | None = None
    bundle: str | None = None
    drift_since: AwareDatetime | None = None
    n_new_labels: int | None = None
    dataset: str | None = None
    settings: str | None = None
    conditions: tuple[Condition, ...] = ()

    def as_shown(self) -> dict[str, Any]:
        """The columns of a table, without the conditions; `at` in UTC."""
        return {
            "at": f"{self.at.astimezone(UTC):%Y-%m-%d %H:%M}",
            "asked_by": self.asked_by,
            "verdict": self.verdict,
            "new_labels": self.n_new_labels,
            "action": self.action,
            "why": self.reason,
        }


@dataclass(frozen=True)
class LatestRows:
    """The end of the table.

    Attributes:
        rows: Oldest first.
        n_damaged: Lines among them that could not be read.
    """

    rows: tuple[TriggerRow, ...]
    n_damaged: int


def rows_path(session: Session) -> Path:
    """The project's file."""
    return session.workspace.state / "trigger" / f"{session.config.project}.jsonl"


def add_row(session: Session, row: TriggerRow) -> None:
    """Adds a row; on return it is on the disk.

    Raises:
        RefusedError: Another process has held the file for half a minute.
    """
    with only_writer_of_rows(session) as add:
        add(row)


def _append(path: Path, row: TriggerRow) -> None:
    line = row.model_dump_json().encode() + b"\n"
    with path.open("a+b") as file:
        file.seek(0, os.SEEK_END)
        if file.tell():
            file.seek(-1, os.SEEK_END)
            line = line if file.read(1) == b"\n" else b"\n" + line
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def latest_rows(session: Session, n_rows: int = 10) -> LatestRows:
    """The last rows."""
    path = rows_path(session)
    if not path.is_file():
        return LatestRows((), 0)
    with path.open("rb") as file:
        file.seek(0, os.SEEK_END)
        start = max(0, file.tell() - _TAIL_BYTES)
        file.seek(start)
        lines = file.read().split(b"\n")[1 if start else 0 :]
    rows: list[TriggerRow] = []
    n_damaged = 0
    for line in reversed([line for line in lines if line.strip()]):
        if len(rows) == n_rows:
            break
        row = _read(line)
        if row is None:
            n_damaged += 1
        else:
            rows.append(row)
    return LatestRows(tuple(reversed(rows)), n_damaged)


def ongoing_drift_since(session: Session, bundle: str, now: datetime) -> datetime | None:
    """When the drift began that the monitor has seen in this bundle's windows; None where it has seen none for a day.

    A window of a drift may pass its tests by chance, so one without drift does not end it.
    """
    rows = [row for row in latest_rows(session, _N_LOOKED_AT).rows if row.asked_by == ASKED_BY_MONITOR and row.verdict == "drift"]
    last = rows[-1] if rows else None
    if last is None or last.bundle != bundle or now - last.at > DRIFT_ENDS_AFTER:
        return None
    return last.drift_since


def attempts(session: Session) -> list[TriggerRow]:
    """Every start of a run, every refusal and every failure, oldest first; not what the monitor would have started."""
    path = rows_path(session)
    if not path.is_file():
        return []
    with path.open("rb") as file:
        found = [_read(line) for line in file if any(action in line for action in _KEPT_ACTIONS)]
    return [row for row in found if row is not None and row.asked_by != ASKED_BY_MONITOR and row.action in _ATTEMPTS]


def _read(line: bytes) -> TriggerRow | None:
    try:
        return TriggerRow.model_validate_json(line)
    except ValidationError:
        return None


@contextmanager
def only_writer_of_rows(session: Session) -> Iterator[Callable[[TriggerRow], None]]:
    """Holds the table's lock and gives what adds a row to it; `add_row` would wait for itself.

    Raises:
        RefusedError: Another process has held it for half a minute.
    """
    path = rows_path(session)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(path.with_suffix(".lock"), timeout=_LOCK_SECONDS):
            yield partial(_append, path)
    except Timeout as error:
        raise RefusedError(
            got=f"the table of decisions {path.name}, which another process has held for {_LOCK_SECONDS} s.",
            allowed="one writer at a time.",
            next_step="run the command again when the other has ended.",
        ) from error
