from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from benchmarks.digits_traffic import DigitsTraffic, inverted
from monitoring.alarm_budget import Allowance
from monitoring.decision import judge_window
from monitoring.reference import Reference
from monitoring.report import evidently_snapshot, write_report
from monitoring.verdict import Verdict
from monitoring.window import Window
from pipelines.config import MonitorSection

Judged = tuple[Window, Reference, Verdict]


def judged(digits: DigitsTraffic, n_window: int, inverting: bool) -> Judged:
    window, reference = digits.draw(0, n_window, change=inverted if inverting else None)
    return window, reference, judge_window(window, reference, MonitorSection(), Allowance(0.01, 0.0))


def test_without_signals_the_page_needs_no_evidently(digits: DigitsTraffic, tmp_path: Path) -> None:
    path = write_report(*judged(digits, 60, inverting=False), tmp_path / "new" / "folder")
    assert path == tmp_path / "new" / "folder" / "drift.html"
    assert "60 requests of bundle" in path.read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("inverting", [False, True])
def test_evidently_says_what_we_say_for_every_signal(digits: DigitsTraffic, inverting: bool) -> None:
    window, reference, verdict = judged(digits, 150, inverting)
    content = evidently_snapshot(window, reference, verdict).dict()
    theirs = {metric["config"]["column"]: (metric["value"], metric["config"]["threshold"]) for metric in content["metrics"]}
    assert theirs == {signal.name: (signal.p_value, signal.threshold) for signal in verdict.signals}
    drifted = {test["metric_config"]["params"]["column"]: test["status"].value == "FAIL" for test in content["tests"]}
    assert drifted == {signal.name: signal.drifted for signal in verdict.signals}
    assert any(drifted.values()) is inverting


@pytest.mark.slow
def test_page_loads_nothing_from_elsewhere(digits: DigitsTraffic, tmp_path: Path) -> None:
    page = write_report(*judged(digits, 150, inverting=True), tmp_path).read_text(encoding="utf-8")
    markup = re.sub(r"<(script|style)\b.*?</\1>", "", page, flags=re.DOTALL)
    assert not re.findall(r"""(?:src|href)\s*=\s*["']?(?:https?:)?//""", markup)
    assert page.index("default-src 'none'") < page.index("<script")  # the browser enforces it for all that follows
    assert not re.findall(r"@import|url\((?!data:)", "".join(re.findall(r"<style\b.*?</style>", page, flags=re.DOTALL)))


@pytest.mark.slow
def test_page_is_drawn_by_a_browser_without_network(digits: DigitsTraffic, tmp_path: Path) -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed; with it this would have drawn the page")
    path = write_report(*judged(digits, 150, inverting=True), tmp_path)
    log = tmp_path / "net.json"
    flags = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-component-update --disable-sync"
    command = [chromium, *flags.split(), f"--user-data-dir={tmp_path / 'profile'}", f"--log-net-log={log}", "--virtual-time-budget=20000"]
    drawn = subprocess.run([*command, "--dump-dom", path.as_uri()], capture_output=True, text=True, timeout=120, check=True).stdout
    assert "Drift in column" in drawn  # Evidently's script ran
    assert drawn.count("js-plotly-plot") >= 5  # and plotted
    requested = re.findall(r'"url":"(https?://[^"]+)"', log.read_text(encoding="utf-8", errors="replace"))
    assert [url for url in requested if "plot" in url or "evidently" in url or "font" in url] == []


@pytest.mark.slow
def test_charts_are_kept_in_an_evidently_workspace(digits: DigitsTraffic, tmp_path: Path) -> None:
    parts = judged(digits, 150, inverting=False)
    for _ in range(2):
        write_report(*parts, tmp_path / "page", evidently_workspace=tmp_path / "workspace", project="demo")
    projects = list((tmp_path / "workspace").glob("*/metadata.json"))
    assert [json.loads(path.read_text())["name"] for path in projects] == ["demo"]
    assert len(list(projects[0].parent.glob("snapshots/*.json"))) == 2
    assert any("ValueDrift" in path.read_text() for path in projects[0].parent.glob("*.json"))  # the panel over time
