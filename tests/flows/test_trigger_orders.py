"""Stop, snooze, go on: what a person says, and for how long it holds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread

import pytest

from flows.session import Session
from flows.trigger_orders import Orders, read_duration, read_orders, resume, snooze, stop
from flows.trigger_rows import latest_rows
from pipelines.core.errors import ConfigurationError, DataError
from pipelines.workspace import Workspace
from tests.conftest import git
from tests.flows.conftest import project_config


@pytest.fixture
def session(tmp_path: Path, identity: None) -> Session:
    git(tmp_path, "init", "-q")
    return Session(Workspace(tmp_path), project_config("toy"))


def file_of(session: Session) -> Path:
    return session.workspace.state / "trigger" / "toy.orders.json"


def test_what_was_said_holds_and_is_a_row(session: Session) -> None:
    assert read_orders(session) == Orders()
    now = datetime.now(UTC)
    said = snooze(session, "12h", "audit")
    assert read_orders(session) == said
    assert said.snooze is not None
    assert timedelta(hours=11.9) < said.snooze.until - now <= timedelta(hours=12.1)
    assert said.in_words(now).startswith("snoozed by Test <test@example.invalid> until ")
    assert said.in_words(said.snooze.until) == "", "it ends by itself"
    stopped = stop(session, "rebuilding", by="Ada")
    assert stopped.in_words(now + timedelta(days=999)).startswith("stopped by Ada since ")
    assert snooze(session, "1h", "x").stop == stopped.stop, "a snooze ends no stop"
    assert resume(session) == read_orders(session) == Orders()
    assert [row.action for row in latest_rows(session).rows] == ["snooze", "stop", "snooze", "resume"]
    assert latest_rows(session).rows[1].reason == "Ada said stop: rebuilding"
    assert not list(file_of(session).parent.glob("*.part"))


def test_a_stop_needs_no_identity(tmp_path: Path) -> None:
    """The folder is not even a repository."""
    session = Session(Workspace(tmp_path), project_config("toy"))
    said = stop(session, "at once")
    assert said.stop is not None
    assert read_orders(session) == said


def test_a_stop_while_a_snooze_is_written_stays(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stop is said after the snooze has read what holds, and before it writes."""
    stops = Thread(target=stop, args=(session, "rebuilding", "Ada"))

    def read_slowly(of: Session) -> Orders:
        found = read_orders(of)
        stops.start()
        stops.join(0.5)
        return found

    monkeypatch.setattr("flows.trigger_orders.read_orders", read_slowly)
    snooze(session, "1h", "audit", by="Bob")
    stops.join()
    assert read_orders(session).stop is not None
    assert [row.action for row in latest_rows(session).rows] == ["snooze", "stop"]


DURATIONS = {
    "30m": timedelta(minutes=30),
    "12h": timedelta(hours=12),
    "1.5d": timedelta(days=1.5),
    "2 w": timedelta(weeks=2),
    "90d": timedelta(days=90),
}


@pytest.mark.parametrize(("text", "expected"), DURATIONS.items())
def test_durations(text: str, expected: timedelta) -> None:
    assert read_duration(text) == expected


@pytest.mark.parametrize("text", ["", "12", "h", "0h", "-1h", "91d", "1e9d", "9" * 400 + "d", "12 hours", "1h30m", "nan h", "NaNh"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"the duration '.*'.*for example 12h; above 0, at most 90 days.*regraft trigger stop"):
        read_duration(text)


def test_without_a_reason_nothing_is_said(session: Session) -> None:
    for say in (lambda: stop(session, " "), lambda: snooze(session, "1h", "")):
        with pytest.raises(ConfigurationError, match=r"no reason.*regraft status.*--why"):
            say()
    with pytest.raises(ConfigurationError, match="the duration"):
        snooze(session, "soon", "audit")
    assert read_orders(session) == Orders()
    assert latest_rows(session).rows == ()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"stop": 1}', '{"halt": null}'])
def test_damaged_orders_start_nothing_until_somebody_says_anew(session: Session, content: str) -> None:
    stop(session, "rebuilding")
    file_of(session).write_text(content)
    with pytest.raises(DataError, match=r"orders toy\.orders\.json, which cannot be read.*stop --why \.\.\.` or `regraft trigger resume"):
        read_orders(session)
    assert resume(session) == read_orders(session)
