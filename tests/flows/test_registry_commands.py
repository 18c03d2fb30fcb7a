"""`regraft history`, `show`, `diff`, `reproduce` and `gc` as a person and a machine call them."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.cli.app import main
from pipelines.versioning.dataset import commit_dataset
from pipelines.versioning.registry import promote, register, rollback
from pipelines.versioning.workspace_repo import init_repository
from tests.flows.conftest import preserved_environment, project_config
from tests.pipelines.versioning.conftest import write_bundle

pytestmark = [
    pytest.mark.usefixtures("identity", "clean_environment"),
    pytest.mark.filterwarnings("ignore:_NoneStep.value will soon raise:DeprecationWarning:dvc"),
]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """v0.0.1 and v0.0.2 registered and promoted, v0.0.1 champion again; the second has one more sample, which v0.0.1 has not."""
    folder = tmp_path_factory.mktemp("registry")
    workspace = folder / "toy"
    init_repository(workspace, folder / "remote", ("Test", "test@example.invalid"))
    (workspace / "conf").mkdir()
    (workspace / "conf" / "toy.yaml").write_text(yaml.safe_dump(project_config("toy").model_dump(mode="json")))
    (workspace / "data").mkdir()
    table = "path,label\na.png,cat\n"
    for number, more in enumerate(["", "b.png,dog\n"]):
        (workspace / "data" / f"{'ab'[number]}.png").write_bytes(b"image %d" % number)
        (workspace / "data" / "labels.csv").write_text(table + more)
        commit_dataset(workspace, "Data")
        bundle = folder / f"bundle{number}"
        write_bundle(bundle, b"weights%d" % number, "toy")
        evaluation = {"accuracy": {"value": 0.9, "low": 0.8, "high": 0.95, "n": 100}}
        records = {"decision.json": b'{"decisions": []}', "evaluation.json": json.dumps(evaluation).encode()}
        version = register(workspace, bundle, records, "Register").name
        promote(workspace, "toy", version, f"reason {number}", {})
    rollback(workspace, "toy", "worse on scanner 3")
    return workspace


def called(capsys: pytest.CaptureFixture[str], root: Path, *arguments: str, expected: int = 0) -> str:
    capsys.readouterr()
    with preserved_environment(), pytest.raises(SystemExit) as caught:
        main([*arguments, "--workspace", str(root)])
    assert int(caught.value.code or 0) == expected
    return capsys.readouterr().out


def answer(capsys: pytest.CaptureFixture[str], root: Path, *arguments: str, expected: int = 0) -> Any:
    return json.loads(called(capsys, root, *arguments, "--json", expected=expected))


def test_history_and_the_champion_of_a_moment(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = answer(capsys, root, "history")
    assert [(row["version"], row["kind"]) for row in rows] == [("v0.0.1", "promote"), ("v0.0.2", "promote"), ("v0.0.1", "rollback")]
    then = answer(capsys, root, "history", "--at", rows[1]["promoted_at"])
    assert (then["champion"]["version"], then["champion"]["why"]) == ("v0.0.2", "reason 1")
    assert "no model was champion yet" in called(capsys, root, "history", "--at", "2001-01-01")
    assert "worse on scanner 3" in called(capsys, root, "history", "--at", "2100-01-01T00:00:00Z")
    assert "ISO 8601" in answer(capsys, root, "history", "--at", "yesterday", expected=2)["error"]["allowed"]


def test_show_tells_how_the_data_differ_from_the_parents(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = answer(capsys, root, "show", "v0.0.2")
    assert found["data"]["parent"] == "v0.0.1"
    assert found["data"]["changes"]["added"] == {"dog": 1}
    assert found["metrics"]["accuracy"]["low"] == 0.8
    text = called(capsys, root, "show", "v0.0.2")
    assert "against v0.0.1: added 1 (dog 1)" in text
    assert "90.0 % (80.0 to 95.0), n = 100" in text
    assert "v0.0.1, v0.0.2" in answer(capsys, root, "show", "v9.9.9", expected=2)["error"]["allowed"]


def test_diff_shows_both_and_says_why_it_cannot_pair(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = answer(capsys, root, "diff", "v0.0.1", "v0.0.2")
    assert found["data"]["added"] == {"dog": 1}
    assert found["metrics"]["a"] == found["metrics"]["b"]
    text = called(capsys, root, "diff", "v0.0.1", "v0.0.2")
    assert "regraft evaluate v0.0.1" in text
    assert "added 1 (dog 1)" in text


def test_reproduce_of_an_unknown_version_is_wrong_use(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "'v9.9.9' of toy" in answer(capsys, root, "reproduce", "v9.9.9", expected=2)["error"]["got"]


def test_gc_only_lists_where_nobody_can_be_asked_and_removes_with_yes(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = root / ".regraft" / "logs" / "old.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("text")
    os.utime(log, (time.time() - 40 * 86_400,) * 2)
    assert "old.log" in called(capsys, root, "gc")
    listed = answer(capsys, root, "gc", "--yes", "--dry-run")
    assert (listed["removed"], [thing["kind"] for thing in listed["found"]]) == (False, ["log"])
    assert log.is_file()
    assert answer(capsys, root, "gc", "--yes")["removed"] is True
    assert not log.exists()
    assert "Nothing to remove" in called(capsys, root, "gc", "--yes")
