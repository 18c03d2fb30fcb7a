"""A real, small run whose outputs every report test may show."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest

from flows.learning import Candidate
from flows.records import RunRecord
from pipelines.answers import TestAnswers, read_answers, write_answers
from pipelines.core.bundle import read_manifest
from pipelines.dataset import read_samples
from tests.pipelines.conftest import digits_folder, tiny_weights  # noqa: F401
from tests.pipelines.small_run import DATASET, SmallRun, small_run

CHROMIUM = "/usr/bin/chromium"
START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_weights: Path, digits_folder: Path) -> SmallRun:  # noqa: F811
    """Trained by gradient, so that it has curves; the champion's evaluation is that of other answers."""
    method = {"kind": "lp_ft", "n_upper_blocks": 1, "epochs": 2, "batch_size": 32, "probe": {"strengths": [0.1]}}
    return small_run(tmp_path_factory.mktemp("run"), tiny_weights, digits_folder, method=method)


@pytest.fixture(scope="session")
def champion(run: SmallRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An evaluation on the same samples that is right on every second one."""
    folder = tmp_path_factory.mktemp("champion")
    answers = read_answers(run.outputs["evaluate"].path / "predictions.csv")
    write_answers(with_wrong(answers, range(0, answers.n, 2)), folder / "predictions.csv")
    return folder


def with_wrong(answers: TestAnswers, rows: range) -> TestAnswers:
    """Every answer right but those of some rows."""
    predicted = answers.labels.copy()
    for row in rows:
        predicted[row] = "1" if answers.labels[row] == "0" else "0"
    return TestAnswers(answers.ids, answers.domains, answers.labels, predicted, answers.confidences)


def candidate_of(run: SmallRun) -> Candidate:
    """What a flow would have of these outputs; stages that only reports link to are left out."""
    return Candidate(run.bundle, read_manifest(run.bundle)[1], dict(run.outputs))


def record_of(small: SmallRun, /, **changes: object) -> RunRecord:
    """As a retraining writes it."""
    evaluation = json.loads((small.outputs["evaluate"].path / "evaluation.json").read_bytes())
    values: dict[str, object] = {
        "run": "7d0c3f0e",
        "project": small.config.project,
        "trigger": "person",
        "started": START,
        "finished": START + timedelta(seconds=90),
        "outcome": "promoted",
        "reason": "Promote: all 1 conditions hold.",
        "dataset": DATASET,
        "bundle": read_manifest(small.bundle)[1],
        "version": "v0.0.2",
        "champion_before": "v0.0.1",
        "accuracy": evaluation["accuracy"],
        "accuracy_by_domain": evaluation["accuracy_by_domain"],
        "decisions": [
            {"gate": "min_metric", "condition": "accuracy of at least 50 %", "outcome": "pass", "n": 60, "reason": "57 of 60 are right"}
        ],
        "n_samples": len(read_samples(small.outputs["split"].path / "samples.csv")),
        "stages_seconds": {name: output.seconds for name, output in small.outputs.items()},
    }
    return RunRecord.model_validate(values | changes)


class _References(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: set[str] = set()
        self.alts_missing: list[str] = []
        self.handlers: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.found += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action", "xlink:href", "poster")]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        if tag == "img" and not dict(attrs).get("alt"):
            self.alts_missing.append(str(attrs))


def check_self_contained(page: Path) -> None:
    """No script, nothing loaded from elsewhere; links lead to files of this machine, relatively."""
    text = page.read_text(encoding="utf-8")
    parser = _References()
    parser.feed(text)
    assert not parser.tags & {"script", "iframe", "object", "embed", "link", "base", "form"}
    assert not parser.handlers
    assert not parser.alts_missing
    for reference in parser.found:
        assert re.match(r"(https?:)?//|file:|javascript:|/", reference) is None, reference
        assert reference.startswith("data:image/png;base64,") or not re.match(r"[a-z]+:", reference), reference
    assert "url(" not in text
    assert "@import" not in text


def screenshot(page: Path, folder: Path) -> bytes:
    """PNG of the page as headless Chromium shows it, without network; fails where its console has an error."""
    if shutil.which(CHROMIUM) is None:
        pytest.skip(f"{CHROMIUM} is not there; with it this would have shown that the page is drawn without an error")
    target = folder / "page.png"
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr", "--v=0"]
    command += [f"--user-data-dir={folder / 'profile'}", "--host-resolver-rules=MAP * ~NOTFOUND", "--window-size=1100,5000"]
    done = subprocess.run([*command, f"--screenshot={target}", page.as_uri()], capture_output=True, text=True, timeout=120)
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert not console, console
    return target.read_bytes()
