from __future__ import annotations

from datetime import UTC, datetime
from html.parser import HTMLParser

from benchmarks.digits_traffic import DigitsTraffic
from monitoring.alarm_budget import Allowance
from monitoring.decision import judge_window
from monitoring.policy import decide
from monitoring.report_header import header_html
from monitoring.report_trigger import trigger_html
from monitoring.trigger.orders import Stop
from monitoring.trigger.situation import Situation
from pipelines.config import MonitorSection, TriggerSection
from tests.monitoring.test_data_quality import dark

NOW = datetime(2026, 5, 1, tzinfo=UTC)
STOP = Stop(at=NOW, by="<b>Ada</b>", why="<script>alert(1)</script>")


class Text(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_decision_every_condition_and_what_was_decided_before() -> None:
    decision = decide(Situation(now=NOW, verdict="drift", n_new_labels=60, stop=STOP), TriggerSection())
    earlier = [
        {"at": f"2026-04-{day}", "asked_by": "drift", "verdict": "drift", "new_labels": None, "action": "none", "why": f"Why {day}."}
        for day in (10, 11)
    ]
    page = Text(trigger_html(decision, earlier))
    assert "Retraining: none" in page.text
    assert decision.reason in page.text
    for condition in decision.conditions:
        assert condition.name in page.text
        assert condition.value in page.text
    assert page.text.index("Why 11.") < page.text.index("Why 10."), "the newest first"
    assert "None" not in page.text
    assert not {"script", "b"} & set(page.tags), "what a person wrote is text"


def test_nothing_was_decided_before() -> None:
    assert "Decisions before" not in trigger_html(decide(Situation(now=NOW), TriggerSection()), [])


def test_broken_inputs_are_on_top_of_the_report(digits: DigitsTraffic) -> None:
    allowed = Allowance(level=0.01, balance=0.0)
    broken = Text(header_html(judge_window(*digits.draw(0, 60, change=dark), MonitorSection(), allowed)))
    assert "Broken inputs" in broken.text
    assert "60 of 60 requests show next to nothing" in broken.text
    intact = judge_window(*digits.draw(0, 120), MonitorSection(), allowed)
    assert "Broken inputs" not in Text(header_html(intact)).text
    assert "Data quality" in Text(header_html(intact)).text
    assert "Data quality" not in Text(header_html(intact.model_copy(update={"data_quality": None}))).text
