"""Which event a look at the traffic sends: drift, labels that are ready, broken inputs, or none. Prefect itself is left out."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from flows import monitor
from monitoring.policy import decide
from monitoring.trigger.orders import Stop
from monitoring.trigger.situation import Situation
from monitoring.verdict import VerdictName
from pipelines.config import TriggerSection

NOW = datetime(2026, 5, 1, tzinfo=UTC)
CONFIG = TriggerSection(retrain_at_new_labels=100)
STOP = Stop(at=NOW, by="", why="rebuilding")


@pytest.mark.parametrize(
    ("verdict", "n_new_labels", "broken", "sent"),
    [
        ("drift", 0, None, ["drift"]),
        ("drift", 500, None, ["drift"]),
        ("degraded", 0, None, ["drift"]),
        ("ok", 99, None, []),
        ("ok", 100, None, ["labels"]),
        ("insufficient_data", 100, None, ["labels"]),
        ("ok", 100, "Dark.", ["broken"]),
        ("drift", 500, "Dark.", ["broken"]),
        ("insufficient_data", 0, "Dark.", ["broken"]),
    ],
)
def test_what_is_sent(
    monkeypatch: pytest.MonkeyPatch, verdict: VerdictName, n_new_labels: int, broken: str | None, sent: list[str]
) -> None:
    told: list[str] = []
    for name, event in (("drift_detected", "drift"), ("labels_ready", "labels"), ("data_quality_alarm", "broken")):
        monkeypatch.setattr(monitor, f"emit_{name}", lambda project, payload, event=event: told.append(event))
    situation = Situation(now=NOW, verdict=verdict, n_new_labels=n_new_labels, data_quality_problem=broken)
    monitor._tell("toy", decide(situation, CONFIG), {"verdict": {"verdict": verdict}})
    assert told == sent


def test_labels_that_are_ready_are_not_told_while_it_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor, "emit_labels_ready", lambda *_: pytest.fail("nothing is to start"))
    situation = Situation(now=NOW, verdict="ok", n_new_labels=100, stop=STOP)
    monitor._tell("toy", decide(situation, CONFIG), {"verdict": {"verdict": "ok"}})
