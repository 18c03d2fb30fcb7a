from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from benchmarks.digits_traffic import DigitsTraffic
from monitoring.alarm_budget import Allowance
from monitoring.decision import judge_window
from monitoring.verdict import Verdict
from pipelines.config import MonitorSection
from pipelines.core.errors import DataError


@pytest.fixture(scope="module")
def verdict(digits: DigitsTraffic) -> Verdict:
    return judge_window(*digits.draw(0, 100), MonitorSection(), Allowance(0.01, 0.0))


def test_json_there_and_back(verdict: Verdict) -> None:
    assert Verdict.from_json(verdict.to_json()) == verdict
    content = json.loads(verdict.to_json())
    assert content["first_at"] == "2026-01-01T00:00:00Z"
    assert set(content["quality"]) >= {"labelled", "expected", "thresholded", "error_rate"}
    assert [signal["name"] for signal in content["signals"]][:3] == ["embedding", "classifier", "out_of_distribution"]


@pytest.mark.parametrize(("change", "message"), [({"verdict": "fine"}, "verdict: Input should be"), ({"extra": 1}, "extra: Extra inputs")])
def test_other_json_is_refused(verdict: Verdict, change: dict[str, object], message: str) -> None:
    text = json.dumps({**json.loads(verdict.to_json()), **change})
    with pytest.raises(DataError, match=f"{message}.*regraft monitor"):
        Verdict.from_json(text)


def test_no_json_is_refused() -> None:
    with pytest.raises(DataError, match="the file: Invalid JSON"):
        Verdict.from_json("{")


def test_a_verdict_is_frozen(verdict: Verdict) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        verdict.verdict = "ok"  # type: ignore[misc]
