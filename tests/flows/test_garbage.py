"""What `regraft gc` would remove, and that it leaves what is needed."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flows.exclusive import only_writer
from flows.garbage import Retention, find_garbage, needed_outputs, remove_garbage
from flows.records import RunRecord, save_record
from flows.session import Session
from pipelines.core.bundle import read_manifest
from pipelines.core.errors import RefusedError
from pipelines.store import StageStore, is_complete
from pipelines.versioning.registry import fetch_bundle, register
from pipelines.workspace import Workspace
from serving.pointer import write_pointer
from tests.flows.conftest import project_config
from tests.pipelines.versioning.conftest import write_bundle

pytestmark = [
    pytest.mark.usefixtures("identity"),
    pytest.mark.filterwarnings("ignore:_NoneStep.value will soon raise:DeprecationWarning:dvc"),
]


def aged(path: Path) -> None:
    for place in (path, *path.rglob("*")):
        os.utime(place, (time.time() - 40 * 86_400,) * 2)


def packaged(session: Session, weights: bytes) -> dict[str, Path]:
    """Outputs of the stages as a run leaves them, with a bundle of these weights; all of them old."""
    store = StageStore(session.workspace.store)

    def write(out: Path) -> None:
        (out / "x").write_bytes(b"x")

    def seal_bundle(out: Path) -> None:
        write_bundle(out / "bundle", weights, "toy")

    split = store.run("split", {"of": "all"}, "pipelines.split", write)
    train = store.run("train", {"split": split.fingerprint, "weights": weights.decode()}, "pipelines.split", write)
    made = store.run("package", {"split": split.fingerprint, "train": train.fingerprint}, "pipelines.split", seal_bundle)
    bundle = read_manifest(made.path / "bundle")[1]
    judged = store.run("evaluate", {"bundle": bundle, "split": split.fingerprint, "sha256_of_a_file": "0" * 64}, "pipelines.split", write)
    shown = store.run("mistakes", {"evaluate": judged.fingerprint}, "pipelines.split", write)
    outputs = {output.name: output.path for output in (split, train, made, judged, shown)}
    for path in outputs.values():
        aged(path)
    return outputs


def bento_of(session: Session, bundle: str) -> Path:
    folder = session.workspace.bentoml_home / "bentos" / "toy" / f"{bundle}-01234567"
    folder.mkdir(parents=True)
    (folder / "bento.yaml").write_text("x")
    aged(folder)
    return folder


@pytest.fixture
def session(tmp_path: Path) -> Session:
    """A workspace with git, DVC and data, whose project is `toy`."""
    from pipelines.versioning.dataset import commit_dataset
    from pipelines.versioning.workspace_repo import init_repository

    root = tmp_path / "toy"
    init_repository(root, tmp_path / "remote", None)
    (root / "conf").mkdir()
    (root / "conf" / "toy.yaml").touch()
    (root / "data").mkdir()
    (root / "data" / "labels.csv").write_text("path,label\n")
    commit_dataset(root, "Data")
    return Session(Workspace.at(root), project_config("toy"))


def register_output(session: Session, output: Path) -> str:
    return register(session.workspace.root, output / "bundle", {"decision.json": b"{}"}, "Register").name


def a_run(session: Session, number: int, bundle: str) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=number)
    record = RunRecord(
        run=f"run{number}", project="toy", trigger="person", started=now, finished=now, outcome="refused", reason="worse", bundle=bundle
    )
    save_record(session.workspace, record)


def test_a_refused_candidate_goes_and_a_registered_one_stays(session: Session) -> None:
    good, bad = packaged(session, b"good"), packaged(session, b"bad")
    register_output(session, good["package"])
    kept, gone = (bento_of(session, read_manifest(outputs["package"] / "bundle")[1]) for outputs in (good, bad))
    found = find_garbage(session, Retention())
    names = {thing.name for thing in found}
    root = session.workspace.root
    expected = {str(path.relative_to(root)) for name, path in bad.items() if name != "split"} | {str(gone.relative_to(root))}
    assert names == expected  # the split serves both
    assert remove_garbage(session, found, Retention()) == sum(thing.n_bytes for thing in found)
    assert all(is_complete(path) for path in good.values())
    assert kept.is_dir()
    assert not gone.exists()
    assert not any(path.exists() for name, path in bad.items() if name != "split")
    assert find_garbage(session, Retention()) == []


def test_the_latest_runs_the_pointer_and_a_waiting_run_keep_theirs(session: Session) -> None:
    outputs = {name: packaged(session, name.encode()) for name in ("recent", "served", "waiting", "old")}
    ids = {name: read_manifest(made["package"] / "bundle")[1] for name, made in outputs.items()}
    a_run(session, 1, ids["old"])
    a_run(session, 2, ids["recent"])
    write_pointer(session.workspace.serving / "champion.json", ids["served"], session.workspace.serving / "bundles" / ids["served"])
    (session.workspace.state / "approvals").mkdir()
    (session.workspace.state / "approvals" / "run3.json").write_text(json.dumps({"record": {"bundle": ids["waiting"]}}))
    found = {thing.name for thing in find_garbage(session, Retention(n_runs=1))}
    root = session.workspace.root
    assert found == {str(path.relative_to(root)) for name, path in outputs["old"].items() if name != "split"}
    assert find_garbage(session, Retention(n_runs=2)) == []


def test_what_was_made_today_is_not_touched(session: Session) -> None:
    outputs = packaged(session, b"new")
    for path in outputs.values():
        os.utime(path)
    assert find_garbage(session, Retention()) == []


def test_bundles_in_the_cache_that_no_tag_names(session: Session) -> None:
    root = session.workspace.root
    register_output(session, packaged(session, b"one")["package"])
    dropped = register_output(session, packaged(session, b"two")["package"])
    session_git(root, "tag", "--delete", f"toy@{dropped}")
    assert [thing for thing in find_garbage(session, Retention()) if thing.kind == "cached bundle"] == []  # HEAD names it
    register_output(session, packaged(session, b"three")["package"])
    (thing,) = [thing for thing in find_garbage(session, Retention()) if thing.kind == "cached bundle"]
    remove_garbage(session, [thing], Retention())
    assert not [path for path in (root / ".dvc" / "cache").rglob("*") if path.is_file() and path.read_bytes() == b"two"]
    for version in ("v0.0.1", "v0.0.2"):
        fetch_bundle(root, "toy", version, root / ".regraft" / "again")


def session_git(root: Path, *arguments: str) -> None:
    from tests.conftest import git

    git(root, *arguments)


def test_old_logs_go_and_new_ones_stay(session: Session) -> None:
    session.workspace.logs.mkdir(parents=True)
    for name in ("old.log", "new.log"):
        (session.workspace.logs / name).write_text("text")
    aged(session.workspace.logs / "old.log")
    found = find_garbage(session, Retention(log_days=30))
    assert [Path(thing.name).name for thing in found] == ["old.log"]
    assert find_garbage(session, Retention(log_days=50)) == []
    remove_garbage(session, found, Retention(log_days=30))
    assert [path.name for path in session.workspace.logs.iterdir()] == ["new.log"]


def test_nothing_goes_while_a_retraining_runs(session: Session) -> None:
    found = [packaged(session, b"bad"), find_garbage(session, Retention())][1]
    with only_writer(session.workspace), pytest.raises(RefusedError, match="under way"):
        remove_garbage(session, found, Retention())
    assert find_garbage(session, Retention()) == found


def test_what_came_to_be_needed_since_it_was_listed_stays(session: Session) -> None:
    outputs = packaged(session, b"late")
    found = find_garbage(session, Retention())
    assert found
    register_output(session, outputs["package"])
    assert remove_garbage(session, found, Retention()) == 0
    assert all(is_complete(path) for path in outputs.values())


def test_what_a_killed_removal_left_is_finished(session: Session) -> None:
    outputs = packaged(session, b"bad")
    aside = outputs["train"].with_name(f".{outputs['train'].name}-gone")
    outputs["train"].rename(aside)
    remove_garbage(session, [], Retention())
    assert not aside.exists()


def test_an_output_that_nothing_rests_on_is_not_needed() -> None:
    store = Path("/store")
    keys = {store / "split" / ("a" * 64): {}, store / "train" / ("b" * 64): {"split": "a" * 64}}
    assert needed_outputs(keys, set()) == set()
