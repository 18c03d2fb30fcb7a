"""`regraft retrain` as a user runs it: killed, repeated, on real photos, with a temporary Prefect server."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.conftest import ROOT, git

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1_800)]


def regraft(*arguments: str, expected: int = 0) -> Any:
    run = subprocess.run(
        [sys.executable, "-m", "flows.cli", *arguments, "--json"], cwd=ROOT, env=environment(), capture_output=True, text=True
    )
    assert run.returncode == expected, f"{run.returncode}: {run.stdout[-3_000:]} {run.stderr[-5_000:]}"
    return json.loads(run.stdout)


def environment() -> dict[str, str]:
    names = {f"GIT_{role}_{part}": "test@example.invalid" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")}
    return {**os.environ, **names, "GIT_CONFIG_GLOBAL": os.devnull}


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with 360 real digits of three classes, never trained."""
    from sklearn.datasets import load_digits

    root = tmp_path_factory.mktemp("fresh")
    digits = load_digits()
    for index in np.flatnonzero(digits.target < 3)[:360]:
        folder = root / "source" / f"digit {digits.target[index]}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray((digits.images[index] * 255 // 16).astype(np.uint8)).save(folder / f"{index}.png")
    regraft("init", str(root / "workspace"), "--from", str(root / "source"))
    return root


@pytest.fixture(scope="module")
def trained(fresh: Path) -> tuple[Path, dict[str, Any]]:
    root = fresh.with_name("trained")
    shutil.copytree(fresh, root, symlinks=True)
    return root / "workspace", regraft("retrain", "--workspace", str(root / "workspace"))


def test_one_json_object_with_what_was_promised(trained: tuple[Path, dict[str, Any]]) -> None:
    workspace, result = trained
    assert result["decision"]["outcome"] == "promoted"
    accuracy = result["accuracy"]
    assert 0.9 < accuracy["low"] < accuracy["value"] <= accuracy["high"] <= 1
    assert set(result["stages_seconds"]) >= {
        "manifest",
        "validate",
        "split",
        "select",
        "train",
        "calibrate",
        "package",
        "evaluate",
        "serve_once",
    }
    assert all(Path(path).is_file() for path in result["reports"].values())
    assert git(workspace, "tag").split() == ["workspace#prod#1", "workspace@v0.0.1"]


def test_again_with_nothing_changed_no_stage_runs(trained: tuple[Path, dict[str, Any]]) -> None:
    workspace, first = trained
    before = sorted(path for path in (workspace / ".regraft" / "store").rglob("*"))
    again = regraft("retrain", "--workspace", str(workspace))
    assert again["decision"]["outcome"] == "unchanged"
    assert again["bundle"] == first["bundle"]
    assert set(again["stages_seconds"].values()) == {0.0}
    assert sorted(path for path in (workspace / ".regraft" / "store").rglob("*")) == before


def test_kill_9_in_the_middle_then_again_ends_in_the_same_bundle(fresh: Path, trained: tuple[Path, dict[str, Any]]) -> None:
    root = fresh.with_name("killed")
    shutil.copytree(fresh, root, symlinks=True)
    workspace = root / "workspace"
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.cli", "retrain", "--workspace", str(workspace)],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    _wait_for(lambda: list((workspace / ".regraft" / "store" / "train").glob(".*")), process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    store = workspace / ".regraft" / "store"
    assert list(store.glob("split/*/stage.json"))
    assert not list(store.glob("train/*/stage.json"))
    result = regraft("retrain", "--workspace", str(workspace))
    assert result["stages_seconds"]["split"] == 0
    assert result["stages_seconds"]["train"] > 0
    assert result["bundle"] == trained[1]["bundle"]
    assert git(workspace, "status", "--porcelain") == ""


def test_gates_refuse_and_the_champion_stays(trained: tuple[Path, dict[str, Any]]) -> None:
    workspace, first = trained
    result = regraft(
        "retrain", "--workspace", str(workspace), "--set", "method={kind: probe, strengths: [1.0e-8]}", "--set", "seed=1", expected=1
    )
    assert result["decision"]["outcome"] == "refused"
    assert "refuse" in [gate["outcome"] for gate in result["decision"]["gates"] if gate["gate"] != "goldens"]
    status = regraft("status", "--workspace", str(workspace))
    assert status["champion"]["bundle"] == first["bundle"]
    assert json.loads((workspace / ".regraft/serving/champion.json").read_text())["bundle"] == first["bundle"]


def test_rollback_history_and_show(trained: tuple[Path, dict[str, Any]]) -> None:
    workspace, first = trained
    model = regraft("show", "v0.0.1", "--workspace", str(workspace))
    assert model["bundle"] == first["bundle"]
    assert model["dataset"] == first["dataset"]
    assert [row["version"] for row in regraft("history", "--workspace", str(workspace))] == ["v0.0.1"]
    error = regraft("rollback", "--why", "test", "--workspace", str(workspace), expected=2)["error"]
    assert "regraft" in error["next_step"]
    judged = regraft("evaluate", "v0.0.1", "--workspace", str(workspace))
    assert judged["accuracy"] == first["accuracy"]


@pytest.mark.shared("that a folder of real photos and a real ImageNet backbone give a promoted model of at least 85 % accuracy")
def test_real_photos_with_real_weights(shared_dir: Path, tmp_path: Path) -> None:
    weights = shared_dir / "weights" / "mobilenetv2_100.coral_qat_in1k.safetensors"
    workspace = tmp_path / "hymenoptera"
    regraft("init", str(workspace), "--from", str(shared_dir / "data" / "hymenoptera"))
    backbone = f"backbone={{kind: timm, name: mobilenetv2_100, weights: {weights}}}"
    result = regraft("retrain", "--workspace", str(workspace), "--set", backbone, "--set", "method={kind: probe}")
    assert result["decision"]["outcome"] == "promoted"
    assert result["accuracy"]["value"] >= 0.85


def _wait_for(condition: Any, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.05)
