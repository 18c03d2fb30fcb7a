from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser

import pytest

from benchmarks.digits_traffic import DigitsTraffic, inverted
from monitoring.alarm_budget import Allowance
from monitoring.decision import judge_window
from monitoring.report_header import header_html
from pipelines.config import MonitorSection
from pipelines.core.errors import Finding

CONFIG = MonitorSection()


class Outline(HTMLParser):
    """Elements and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data + " "


def test_verdict_reason_and_every_signal_are_there(digits: DigitsTraffic) -> None:
    verdict = judge_window(*digits.draw(0, 120, change=inverted), CONFIG, Allowance(0.01, 0.0))
    outline = Outline(header_html(verdict))
    assert "Drift" in outline.text
    assert verdict.reason in outline.text
    for signal in verdict.signals:
        assert signal.name in outline.text
        assert f"{signal.p_value:.2g}" in outline.text
    assert outline.elements.count("table") == 7
    assert header_html(verdict).count('class="moved"') >= len(verdict.drifted)


def test_what_clients_wrote_is_escaped(digits: DigitsTraffic) -> None:
    window, reference = digits.draw(0, 120)
    evil = "<script>alert(1)</script>"
    window = replace(window, domains=(evil,) * 120, n_malformed=1, problems=(Finding(evil, evil),))
    page = header_html(judge_window(window, reference, CONFIG, Allowance(0.01, 0.0)))
    assert "script" not in Outline(page).elements
    assert "&lt;script&gt;alert(1)" in page


@pytest.mark.parametrize("n_window", [0, 50])
def test_insufficient_data_has_a_page_too(digits: DigitsTraffic, n_window: int) -> None:
    window, reference = digits.draw(0, n_window)
    outline = Outline(header_html(judge_window(window, reference, CONFIG, Allowance(0.01, 0.0))))
    assert "Not enough data" in outline.text
    assert "table" not in outline.elements
