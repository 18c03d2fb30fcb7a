"""What a person said to the automation of a workspace: stop, snooze, go on.

`.regraft/trigger/PROJECT.orders.json`, replaced in one step. It is not versioned: it is about the automation of this machine now. It must
hold at once, without a commit, and no checkout of another commit may end a stop. Every run looks at it when it runs, so that a run whose
event was sent before still honours it. Each order is a row of the table of decisions as well.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from flows.session import Session
from flows.trigger_rows import TriggerRow, only_writer_of_rows
from monitoring.trigger.orders import Snooze, Stop
from pipelines.core.errors import ConfigurationError, DataError

LONGEST_SNOOZE = timedelta(days=90)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(m|h|d|w)")
_UNIT = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class Orders(BaseModel):
    """What holds.

    Attributes:
        stop: Until a person says to go on; None where nobody stopped it.
        snooze: The latest one, over or not; None where there was none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    stop: Stop | None = None
    snooze: Snooze | None = None

    def in_words(self, now: datetime) -> str:
        """For people; empty where nothing holds."""
        if self.stop is not None:
            return f"stopped{_by(self.stop.by)} since {self.stop.at:%Y-%m-%d %H:%M} UTC: {self.stop.why}"
        if self.snooze is not None and now < self.snooze.until:
            return f"snoozed{_by(self.snooze.by)} until {self.snooze.until:%Y-%m-%d %H:%M} UTC: {self.snooze.why}"
        return ""


def read_orders(session: Session) -> Orders:
    """What holds now.

    Raises:
        DataError: The file is damaged; nothing starts before somebody has said anew what holds.
    """
    path = _path(session)
    if not path.is_file():
        return Orders()
    try:
        return Orders.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise DataError(
            got=f"the orders {path.name}, which cannot be read: {error.errors(include_url=False)[0]['msg']}.",
            allowed="the file as `regraft trigger` wrote it.",
            next_step="say again what holds: `regraft trigger stop --why ...` or `regraft trigger resume`.",
        ) from error


def stop(session: Session, why: str, by: str = "") -> Orders:
    """Nothing starts by itself any more, scheduled retrainings included. A person's `regraft retrain` still does."""
    said = Stop(at=datetime.now(UTC), by=by or caller(session), why=_given(why))
    return _say(session, lambda: Orders(stop=said), "stop", said)


def snooze(session: Session, duration: str, why: str, by: str = "") -> Orders:
    """No event starts anything for a while; scheduled retrainings go on. It replaces a snooze, and does not end a stop.

    Args:
        session: Of the workspace.
        duration: For example `30m`, `12h`, `3d` or `1w`; at most 90 days.
        why: Kept.
        by: Who says so; the git identity where it is empty.

    Raises:
        ConfigurationError: The duration is none, or there is no reason.
    """
    now = datetime.now(UTC)
    said = Snooze(at=now, by=by or caller(session), why=_given(why), until=now + read_duration(duration))
    return _say(session, lambda: Orders(stop=read_orders(session).stop, snooze=said), "snooze", said)


def resume(session: Session, why: str = "", by: str = "") -> Orders:
    """Ends a stop and a snooze."""
    return _say(session, Orders, "resume", Stop(at=datetime.now(UTC), by=by or caller(session), why=why))


def read_duration(text: str) -> timedelta:
    """For example `12h`.

    Raises:
        ConfigurationError: It is no duration, or too long.
    """
    found = _DURATION.fullmatch(text.strip())
    duration = timedelta(**{_UNIT[found[2]]: min(float(found[1]), 1e6)}) if found else timedelta(0)
    if not timedelta(0) < duration <= LONGEST_SNOOZE:
        raise ConfigurationError(
            got=f"the duration {text!r}.",
            allowed=f"a number with m, h, d or w, for example 12h; above 0, at most {LONGEST_SNOOZE.days} days.",
            next_step="correct it; for longer use `regraft trigger stop`.",
        )
    return duration


def caller(session: Session) -> str:
    """Git's identity; empty where git knows none: a stop must not fail for a name."""
    from pipelines.versioning import git

    try:
        who = git.identity(session.workspace.root)
    except ConfigurationError:
        return ""
    return f"{who.name} <{who.email}>"


def _say(session: Session, say: Callable[[], Orders], action: Literal["stop", "snooze", "resume"], said: Stop) -> Orders:
    until = f" until {said.until:%Y-%m-%d %H:%M} UTC" if isinstance(said, Snooze) else ""
    reason = f"{said.by or 'Somebody'} said {action}{until}{': ' if said.why else ''}{said.why}"
    row = TriggerRow(at=said.at, asked_by="person", action=action, reason=reason)
    # A snooze that read before another's stop was written would end that stop.
    with only_writer_of_rows(session) as add:
        orders = say()
        _replace(_path(session), orders)
        add(row)
    return orders


def _replace(path: Path, orders: Orders) -> None:
    staging = path.with_suffix(f".{os.getpid()}.part")
    staging.write_text(orders.model_dump_json(indent=2) + "\n", encoding="utf-8")
    staging.replace(path)


def _given(why: str) -> str:
    if not why.strip():
        raise ConfigurationError(
            got="no reason.",
            allowed="a sentence that says why; `regraft status` shows it to whoever wonders.",
            next_step='give one: --why "the line is being rebuilt".',
        )
    return why.strip()


def _path(session: Session) -> Path:
    return session.workspace.state / "trigger" / f"{session.config.project}.orders.json"


def _by(name: str) -> str:
    return f" by {name}" if name else ""
