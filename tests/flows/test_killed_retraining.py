"""kill -9 of a run at every step between its decision and the end of its report; started again it is what it was, and says so."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import JsonValue

from flows.decided import forget_decided
from flows.learning import Candidate
from flows.session import Session
from pipelines.store import StageOutput, StageStore
from pipelines.versioning.registry import history
from pipelines.workspace import Workspace
from serving.build import BentoBuild
from tests.conftest import ROOT
from tests.flows.test_test_set_over_time import grow, retrain, write_digits

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

GATES: list[dict[str, object]] = [
    {"kind": "min_metric", "floor": 0.5, "min_n": 5},
    {"kind": "beats_champion", "without_champion": "pass", "margin": 0.3, "min_n": 5},
]


def unserved(session: Session, candidate: Candidate, build: BentoBuild, run: str) -> tuple[StageOutput, None]:
    """The Bento is not what is looked at here."""
    key: dict[str, JsonValue] = {"bundle": candidate.bundle_id}
    return StageStore(session.workspace.store).run("serve_once", key, "serving.verify", lambda out: None), None


# One step of the flow, without Prefect: what it tells the server goes to a file. It kills itself when a function has returned so often.
RUN = """
import json, os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from flows import retrain, retraining, run_report, shipping
from flows.session import open_session
from tests.flows.test_killed_retraining import unserved
from tests.flows.test_test_set_over_time import plainly
from tests.monitoring.verdicts import verdict

root, run, owner, name, times = Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4], int(sys.argv[5])

def told(outcome):
    def tell(project, content):
        with (root / "told.jsonl").open("a") as file:
            file.write(json.dumps({"outcome": outcome, **content}) + "\\n")
    return tell

run_report.emit_model_promoted, run_report.emit_model_refused = told("promoted"), told("refused")
run_report._publish_artifacts = lambda *_: None
shipping._serve_once = unserved
if times:
    module = {"retrain": retrain, "retraining": retraining, "run_report": run_report}[owner]
    original, calls = getattr(module, name), []
    def killing(*arguments, **options):
        answer = original(*arguments, **options)
        calls.append(name)
        if len(calls) == times:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer
    setattr(module, name, killing)
trigger = {"kind": "drift", "evidence": {"verdict": verdict("drift", "costs").model_dump(mode="json")}}
retrain._step(retraining.Retraining(open_session(root), run, trigger, datetime.now(UTC), None, plainly), None)
"""
MOMENTS = [
    ("retraining", "ship", 1),
    ("retraining", "promote_version", 1),
    ("retrain", "save_record", 2),
    ("run_report", "emit_model_promoted", 1),
]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A champion that has learned from 140 digits, and 220 more in the data since."""
    from flows.new_workspace import init_workspace

    folder, before = tmp_path_factory.mktemp("decided"), dict(os.environ)
    for role in ("AUTHOR", "COMMITTER"):
        os.environ[f"GIT_{role}_NAME"], os.environ[f"GIT_{role}_EMAIL"] = "Test", "test@example.invalid"
    os.environ |= {"DVC_SITE_CACHE_DIR": str(folder / "dvc-site"), "DVC_GLOBAL_CONFIG_DIR": str(folder / "dvc-global")}
    write_digits(folder / "source", 0, 140)
    init_workspace(folder / "workspace", folder / "source", "image")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flows.shipping._serve_once", unserved)
        assert retrain(folder / "workspace", GATES, 1.0).record.outcome == "promoted"
    forget_decided(Workspace(folder / "workspace"), "run")  # it was carried out without the flow, which would have told of it
    grow(folder / "workspace")
    yield folder
    os.environ.clear()
    os.environ.update(before)


def copied(template: Path, target: Path) -> Path:
    """With a remote of its own: what one test pushes no other must find."""
    shutil.copytree(template, target, symlinks=True)
    remote = target / "workspace-dvc-remote"
    assert remote.is_dir()
    (target / "workspace" / ".dvc" / "config.local").write_text(f"['remote \"storage\"']\n    url = {remote}\n")
    return target / "workspace"


def carry_on(root: Path, run: str, moment: tuple[str, str, int] = ("", "", 0)) -> dict[str, Any] | None:
    """The run's record; None where it was killed."""
    command = [sys.executable, "-c", RUN, str(root), run, *map(str, moment)]
    done = subprocess.run(command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, check=False)
    assert done.returncode == (-signal.SIGKILL if moment[2] else 0), done.stderr[-3_000:]
    return None if moment[2] else record_of(root, run)


def record_of(root: Path, run: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((root / ".regraft" / "runs" / f"{run}.json").read_bytes())
    return content


def told(root: Path) -> list[tuple[str, str]]:
    lines = (root / "told.jsonl").read_text().splitlines() if (root / "told.jsonl").is_file() else []
    return [(line["outcome"], line["run"]) for line in map(json.loads, lines)]


def what_counts(record: dict[str, Any]) -> dict[str, Any]:
    """Without times and paths."""
    other = {"started", "finished", "stages_seconds", "peak_memory_mib"}
    return {name: value for name, value in record.items() if name not in other} | {"reports": sorted(record["reports"])}


@pytest.fixture(scope="module")
def undisturbed(template: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the run becomes; its stages are done for the others."""
    root = copied(template, tmp_path_factory.mktemp("undisturbed") / "place")
    record = carry_on(root, "r1")
    assert record is not None
    assert (record["outcome"], record["version"], record["champion_before"]) == ("promoted", "v0.0.2", "v0.0.1"), record["reason"]
    assert told(root) == [("promoted", "r1")]
    for folder in ("store", "bentoml"):
        shutil.copytree(root / ".regraft" / folder, template / "workspace" / ".regraft" / folder, symlinks=True, dirs_exist_ok=True)
    return record


@pytest.mark.parametrize("moment", MOMENTS, ids=lambda moment: "-".join(map(str, moment)))
def test_a_promotion_killed_at_any_step_is_told_as_one(
    template: Path, tmp_path: Path, undisturbed: dict[str, Any], moment: tuple[str, str, int]
) -> None:
    root = copied(template, tmp_path / "place")
    assert carry_on(root, "r1", moment) is None
    record = carry_on(root, "r1")
    assert record is not None
    assert what_counts(record) == what_counts(undisturbed)
    assert set(told(root)) == {("promoted", "r1")}
    assert len(told(root)) == (2 if moment[1] == "emit_model_promoted" else 1)
    assert [change.version for change in history(root, "workspace")] == ["v0.0.1", "v0.0.2"]
    assert not list((root / ".regraft" / "decided").glob("*.json"))
    pointer = json.loads((root / ".regraft" / "serving" / "champion.json").read_bytes())
    assert pointer["bundle"] == record["bundle"]


def test_where_it_never_comes_back_the_next_run_tells(template: Path, tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    root = copied(template, tmp_path / "place")
    assert carry_on(root, "r1", ("retraining", "promote_version", 1)) is None
    other = carry_on(root, "r2")
    assert other is not None
    assert other["outcome"] == "skipped", "r1 has learned what there was"
    assert told(root) == [("promoted", "r1")]
    settled = record_of(root, "r1")
    for name in ("outcome", "version", "reason", "bundle", "accuracy", "decisions", "champion_before", "n_samples"):
        assert settled[name] == undisturbed[name], name
    again = carry_on(root, "r1")
    assert again == settled, "it is told already"
    assert told(root) == [("promoted", "r1")]
