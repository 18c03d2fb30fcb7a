"""A registered version is made again: the same, planted differences, circumstances, nothing left behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from flows.reproduction import reproduce
from flows.session import Session
from flows.version_comparison import compare
from pipelines.core.errors import ConfigurationError
from pipelines.versioning.account import account_of
from pipelines.workspace import Workspace
from tests.conftest import ROOT, git
from tests.flows.registered import candidate_of, make_workspace_of_digits, register_candidate, session_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("identity"),
    pytest.mark.filterwarnings("ignore:_NoneStep.value will soon raise:DeprecationWarning:dvc"),
]
WEAKER = {"kind": "probe", "strengths": [1e-7]}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workspace with all stages run once and nothing registered."""
    with pytest.MonkeyPatch.context() as patch:
        for role in ("AUTHOR", "COMMITTER"):
            patch.setenv(f"GIT_{role}_NAME", "Test")
            patch.setenv(f"GIT_{role}_EMAIL", "test@example.invalid")
        root = tmp_path_factory.mktemp("trained") / "place"
        candidate_of(session_of(make_workspace_of_digits(root)))
    return root


@pytest.fixture
def session(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    """A copy, and a folder for temporary files of its own."""
    shutil.copytree(trained, tmp_path / "place", symlinks=True)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return session_of(Workspace.at(tmp_path / "place" / "digits3"))


def everything(folder: Path) -> dict[str, tuple[int, int]]:
    files = (path for path in folder.rglob("*") if path.is_file() and "tmp" not in path.relative_to(folder).parts[:2])
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


def test_the_same_bits_and_an_untouched_workspace(session: Session, tmp_path: Path) -> None:
    version = register_candidate(session, candidate_of(session))
    before = everything(session.workspace.root)
    found = reproduce(session, version)
    assert (found.outcome, found.circumstances, found.files, found.metrics) == ("same", (), (), {})
    assert found.expected == found.got
    assert everything(session.workspace.root) == before
    assert list((tmp_path / "temporary").iterdir()) == []


def test_the_configuration_is_that_of_the_run_and_not_that_of_the_conf_file(session: Session) -> None:
    version = register_candidate(session, candidate_of(session))
    other = session_of(session.workspace, "method={kind: prototype}", "seed=7")
    assert reproduce(other, version).outcome == "same"


def test_a_network_that_only_the_report_needed_may_be_gone(session: Session) -> None:
    clip = {"folder": None, "sha256": "0" * 64, "tokenizer_sha256": "0" * 64}  # where it lay is in no record
    version = register_candidate(session, candidate_of(session), lambda record: record["config"].update(zero_shot={"clip": clip}))
    assert reproduce(session, version).outcome == "same"


def test_a_record_that_says_another_configuration_is_different(session: Session) -> None:
    version = register_candidate(session, candidate_of(session), lambda record: record["config"].update(method=WEAKER))
    found = reproduce(session, version)
    assert found.outcome == "different"
    assert "weights.safetensors" in found.files
    assert found.expected["weights_sha256"] != found.got["weights_sha256"]
    assert "log_loss" in found.metrics
    assert "though code, libraries, hardware and time budget are as they were" in found.reason


def test_other_hardware_is_said_and_the_answers_are_compared_instead(session: Session) -> None:
    def elsewhere(record: dict[str, Any]) -> None:
        record["config"]["method"] = {"kind": "probe", "strengths": [0.9]}
        record["hardware"]["cpu"] = "Another Processor"
        record["code"]["stages"]["train"] = "0" * 64

    version = register_candidate(session, candidate_of(session), elsewhere)
    found = reproduce(session, version, margin=0.2)
    assert found.outcome == "equivalent"
    assert found.equivalence is not None
    assert found.equivalence.n > 50
    said = " | ".join(found.circumstances)
    assert "hardware cpu: Another Processor then" in said
    assert "the code differs from that of Regraft" in said
    assert "in: train" in said
    assert reproduce(session, version, margin=0.001).outcome == "insufficient_data"


def test_weights_that_are_not_here_are_named(session: Session) -> None:
    def elsewhere(record: dict[str, Any]) -> None:
        record["config"]["backbone"] = {"kind": "timm", "name": "resnet10t", "in_channels": 1}
        record["backbone_sources"] = [{"sha256": "1" * 64}]

    version = register_candidate(session, candidate_of(session), elsewhere)
    with pytest.raises(ConfigurationError, match=r"no weights of resnet10t with the recorded sha256 1{64}.*--weights"):
        reproduce(session, version)


def test_the_record_holds_what_differs_between_two_runs(session: Session) -> None:
    conf = session.workspace.root / "conf" / "digits3.yaml"
    conf.write_text(conf.read_text() + "# not committed\n")
    (session.workspace.root / "notes.txt").write_text("untracked")
    version = register_candidate(session, candidate_of(session))
    account = account_of(session.workspace.root, "digits3", version)
    assert account["workspace"]["is_dirty"]
    assert "+# not committed" in account["workspace"]["patch"]
    assert account["workspace"]["untracked"] == ["notes.txt"]
    assert account["hardware"]["cpu"]
    assert account["config"]["gates"]
    assert set(account["code"]["stages"]) >= {"split", "train", "evaluate"}
    assert str(session.workspace.root) not in git(session.workspace.root, "show", f"digits3@{version}:models/provenance.json")


def test_two_versions_side_by_side_and_paired_on_the_same_samples(session: Session) -> None:
    register_candidate(session, candidate_of(session))
    weaker = session_of(session.workspace, "method={kind: probe, strengths: [1.0e-7]}")
    register_candidate(weaker, candidate_of(weaker))
    found = compare(session, "v0.0.1", "v0.0.2")
    assert found["config"]["method.strengths"] == {"a": [1.0], "b": [1e-7]}
    assert found["data"]["added"] == {}
    paired, metrics = found["paired"], found["metrics"]
    difference = metrics["b"]["accuracy"]["value"] - metrics["a"]["accuracy"]["value"]
    assert paired["accuracy_b_minus_a"]["value"] == pytest.approx(difference)
    assert paired["accuracy_b_minus_a"]["n"] == metrics["a"]["accuracy"]["n"]
    shutil.rmtree(session.workspace.store / "evaluate")
    assert "regraft evaluate v0.0.1" in compare(session, "v0.0.1", "v0.0.2")["paired"]["unknown"]


def test_an_interrupt_cleans_up(session: Session, tmp_path: Path) -> None:
    version = register_candidate(session, candidate_of(session))
    before = git(session.workspace.root, "status", "--porcelain", "--ignored")
    command = [sys.executable, "-m", "flows.cli", "reproduce", version, "--workspace", str(session.workspace.root)]
    process = subprocess.Popen(command, cwd=ROOT, env=dict(os.environ), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "temporary").glob("regraft-reproduce-*/workspace/.regraft/store/manifest")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 128 + signal.SIGINT
    assert list((tmp_path / "temporary").glob("regraft-*")) == []
    assert git(session.workspace.root, "status", "--porcelain", "--ignored") == before
