"""The whole loop with the real servers, as a user starts it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from pipelines.intervals import clopper_pearson
from tests.conftest import ROOT, git

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1_800)]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "demo"
    before = git(ROOT, "status", "--porcelain"), git(ROOT, "rev-parse", "HEAD")
    run = subprocess.run(
        [sys.executable, "-m", "flows.cli", "demo", "--folder", str(folder)],
        cwd=ROOT,
        env={**os.environ, "GIT_CONFIG_GLOBAL": os.devnull},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout[-3_000:] + run.stderr[-6_000:]
    assert (git(ROOT, "status", "--porcelain"), git(ROOT, "rev-parse", "HEAD")) == before
    return folder


def test_the_loop_closes(demo: Path) -> None:
    summary = json.loads((demo / "summary.json").read_text())
    before, after = summary["accuracy"]["before"], summary["accuracy"]["after"]
    assert summary["verdicts"] == ["ok", "drift"]
    assert before["new_domain"]["high"] < before["old_domain"]["low"]
    assert after["new_domain"]["low"] > before["new_domain"]["high"]
    assert after["old_domain"]["value"] > before["old_domain"]["value"] - 0.03
    assert summary["requests"]["sent"] > 600
    assert (summary["requests"]["failed"], summary["requests"]["lost"]) == (0, 0)
    assert (summary["champion"]["before"], summary["champion"]["after"]) == ("v0.0.1", "v0.0.2")


def test_the_intervals_are_what_they_say(demo: Path) -> None:
    summary = json.loads((demo / "summary.json").read_text())
    for model in summary["accuracy"].values():
        for accuracy in model.values():
            interval = clopper_pearson(round(accuracy["value"] * accuracy["n"]), accuracy["n"])
            assert (accuracy["low"], accuracy["high"]) == (interval.low, interval.high)


def test_no_request_is_missing_from_the_log(demo: Path) -> None:
    summary = json.loads((demo / "summary.json").read_text())
    lines = [line for file in (demo / "workspace/.regraft/serving/log/requests").glob("*.jsonl") for line in file.read_text().splitlines()]
    assert len(lines) == summary["requests"]["sent"]
    assert len({json.loads(line)["request_id"] for line in lines}) == len(lines)


def test_reports_are_there_and_need_no_network(demo: Path) -> None:
    summary = json.loads((demo / "summary.json").read_text())
    pages = [demo / "index.html", *map(Path, summary["reports"].values())]
    assert len(pages) >= 9
    for page in pages:
        text = page.read_text(encoding="utf-8")
        loads = re.findall(r"""(?:src|<link[^>]*href)=["'](?:https?:)?//[^"']*""", text)
        assert loads == [], page


def test_what_git_and_gto_say(demo: Path) -> None:
    workspace = demo / "workspace"
    assert git(workspace, "status", "--porcelain") == ""
    tags = git(workspace, "tag").split()
    assert {"digits@v0.0.1", "digits@v0.0.2", "digits#prod#1", "digits#prod#2"} == set(tags)


def test_every_process_has_ended(demo: Path) -> None:
    left = [process.pid for process in psutil.process_iter(["cmdline"]) if any(str(demo) in part for part in process.info["cmdline"] or ())]
    assert left == []
