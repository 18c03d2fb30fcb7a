"""The whole loop on texts with the real servers, on data that every machine has."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, git

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1_800)]

_PROGRAM = (
    "import sys; from pathlib import Path; from flows.demo.run import run_demo; from flows.demo.texts import documentation\n"
    "run_demo(Path(sys.argv[1]), documentation(), keep_serving=False)"
)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "demo"
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull}
    run = subprocess.run([sys.executable, "-c", _PROGRAM, str(folder)], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-3_000:] + run.stderr[-6_000:]
    return folder


def test_the_loop_closes(demo: Path) -> None:
    summary = json.loads((demo / "summary.json").read_text())
    before, after = summary["accuracy"]["before"], summary["accuracy"]["after"]
    assert summary["verdicts"] == ["ok", "drift"]
    assert before["new_domain"]["value"] < before["old_domain"]["value"] - 0.05
    assert after["new_domain"]["value"] > before["new_domain"]["value"] + 0.05
    assert after["old_domain"]["value"] > before["old_domain"]["value"] - 0.08
    assert (summary["requests"]["failed"], summary["requests"]["lost"]) == (0, 0)
    assert (summary["champion"]["before"], summary["champion"]["after"]) == ("v0.0.1", "v0.0.2")


def test_the_text_that_came_in_is_in_the_data_and_in_no_log(demo: Path) -> None:
    workspace = demo / "workspace"
    rows = (workspace / "data" / "labels.csv").read_text(encoding="utf-8")
    assert ",parameters," in rows
    log = "".join(file.read_text() for file in (workspace / ".regraft/serving/log/requests").glob("*.jsonl"))
    raw = [file.read_text(encoding="utf-8") for file in (workspace / ".regraft/serving/raw").iterdir()]
    assert len(raw) > 600
    assert not [text for text in raw[:50] if text in log]


def test_pages_show_texts(demo: Path) -> None:
    summary = json.loads((demo / "summary.json").read_text())
    drift = next(Path(path) for name, path in summary["reports"].items() if name == "drift report: drift").read_text(encoding="utf-8")
    assert "<blockquote><bdi>" in drift
    assert "mean_word_length" in drift
    run = Path(summary["reports"]["run of v0.0.2"]).read_text(encoding="utf-8")
    assert "when the word alone is left out" in run
    assert git(demo / "workspace", "status", "--porcelain") == ""
