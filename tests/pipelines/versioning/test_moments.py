from __future__ import annotations

import datetime

import pytest

from pipelines.core.errors import ConfigurationError
from pipelines.versioning.champions import history
from pipelines.versioning.moments import champion_at_moment, read_moment


@pytest.mark.parametrize(
    ("text", "hour"), [("2026-03-01", 0), ("2026-03-01T12:00", 12), ("2026-03-01 12:00:00Z", 12), ("2026-03-01T12:00+01:00", 11)]
)
def test_times_with_and_without_a_zone(text: str, hour: int) -> None:
    moment = read_moment(text)
    assert moment.astimezone(datetime.UTC) == datetime.datetime(2026, 3, 1, hour, tzinfo=datetime.UTC)


def test_what_is_no_time_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"the time 'last week'.*ISO 8601.*regraft history"):
        read_moment("last week")


def test_who_was_champion_then_and_why(promoted) -> None:
    first, second = history(promoted.root, "digits")
    before = champion_at_moment(promoted.root, "digits", (first.promoted_at - datetime.timedelta(seconds=1)).isoformat())
    assert before["champion"] is None
    then = champion_at_moment(promoted.root, "digits", first.promoted_at.replace(tzinfo=None).isoformat())
    assert then["champion"]["version"] == "v0.0.1"
    assert then["champion"]["evidence"] == {"trigger": "person"}
    now = champion_at_moment(promoted.root, "digits", "2100-01-01")
    assert (now["champion"]["version"], now["champion"]["why"]) == (second.version, "better on every domain")
