"""`regraft data relabel` in a real workspace: a new dataset version, or nothing at all."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flows.cli.app import main
from tests.conftest import ROOT, git

HEADER = "kind,path,given_label,new_label,action\n"


@pytest.fixture(autouse=True)
def _own_places(identity: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "dvc-site"))
    monkeypatch.setenv("DVC_GLOBAL_CONFIG_DIR", str(tmp_path / "dvc-global"))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("template")
    rng = np.random.default_rng(0)
    for name in ("ant", "bee"):
        (root / "photos" / name).mkdir(parents=True)
        for number in range(12):
            Image.fromarray(rng.integers(0, 256, (16, 16), dtype=np.uint8)).save(root / "photos" / name / f"{name} {number}.png")
    with pytest.MonkeyPatch.context() as patch:
        for role in ("AUTHOR", "COMMITTER"):
            patch.setenv(f"GIT_{role}_NAME", "Test")
            patch.setenv(f"GIT_{role}_EMAIL", "test@example.invalid")
        call(["init", str(root / "insects"), "--from", str(root / "photos")])
    return root


def call(arguments: list[str], code: str = r"0|None") -> None:
    with pytest.raises(SystemExit, match=rf"^({code})$"):
        main(arguments)


@pytest.fixture
def workspace(template: Path, tmp_path: Path) -> Path:
    shutil.copytree(template, tmp_path / "place", symlinks=True)
    return tmp_path / "place" / "insects"


def labels(workspace: Path) -> dict[str, str]:
    lines = (workspace / "data" / "labels.csv").read_text().splitlines()[1:]
    return dict(line.rsplit(",", 1) for line in lines)


def relabel(workspace: Path, capsys: pytest.CaptureFixture[str], rows: str, *options: str, code: str = r"0|None") -> dict[str, object]:
    (workspace.parent / "audit.csv").write_text(HEADER + rows)
    capsys.readouterr()
    call(["data", "relabel", str(workspace.parent / "audit.csv"), "--workspace", str(workspace), "--json", *options], code)
    content: dict[str, object] = json.loads(capsys.readouterr().out)
    return content


def rows_for(workspace: Path) -> tuple[str, str, str]:
    ant, bee = (sorted(path for path, label in labels(workspace).items() if label == name) for name in ("ant", "bee"))
    return f"label,{ant[0]},ant,bee,\nlabel,{ant[1]},ant,,\noutlier,{bee[0]},bee,,drop\n", ant[0], bee[0]


def test_corrections_become_a_dataset_version(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, first = labels(workspace), (workspace / "data.dvc").read_bytes()
    rows, changed, dropped = rows_for(workspace)
    trial = relabel(workspace, capsys, rows, "--dry-run")
    assert (trial["relabelled"], trial["dropped"], trial["dry_run"]) == (1, 1, True)
    assert labels(workspace) == before
    assert git(workspace, "status", "--porcelain") == ""
    done = relabel(workspace, capsys, rows)
    assert done["changes"] == trial["changes"]
    assert done["dataset"] != trial["dataset"]
    expected = before | {changed: "bee"}
    del expected[dropped]
    assert labels(workspace) == expected
    assert (workspace / "data" / dropped).is_file()
    assert git(workspace, "log", "-1", "--format=%s").strip() == "Correct labels: 1 changed (ant to bee: 1), 1 row dropped"
    assert git(workspace, "status", "--porcelain") == ""
    assert (workspace / "data.dvc").read_bytes() != first
    call(["validate", "--workspace", str(workspace)])


def test_the_same_corrections_again_make_no_version(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = rows_for(workspace)[0].splitlines()[0] + "\n"
    relabel(workspace, capsys, rows)
    head = git(workspace, "rev-parse", "HEAD")
    again = relabel(workspace, capsys, rows)
    assert (again["relabelled"], again["already"]) == (0, 1)
    assert git(workspace, "rev-parse", "HEAD") == head


def test_a_file_without_corrections_changes_nothing(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    head = git(workspace, "rev-parse", "HEAD")
    assert relabel(workspace, capsys, "")["changes"] == []
    assert git(workspace, "rev-parse", "HEAD") == head


def test_one_bad_row_and_nothing_is_written(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, head = labels(workspace), git(workspace, "rev-parse", "HEAD")
    rows = rows_for(workspace)[0] + "label,images/none.png,ant,bee,\n"
    error = relabel(workspace, capsys, rows, code="3")["error"]
    assert isinstance(error, dict)
    assert error["findings"] == [{"where": "audit.csv line 5", "problem": "images/none.png is not in the labels table"}]
    assert (labels(workspace), git(workspace, "rev-parse", "HEAD")) == (before, head)


def test_other_changes_of_the_data_do_not_slip_in(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workspace / "data" / "stray.txt").write_text("not committed")
    error = relabel(workspace, capsys, rows_for(workspace)[0], code="2")["error"]
    assert isinstance(error, dict)
    assert "data/stray.txt is new" in error["got"]
    assert "regraft data commit" in error["next_step"]


def test_what_a_person_reads(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows, changed, dropped = rows_for(workspace)
    (workspace.parent / "audit.csv").write_text(HEADER + rows)
    call(["data", "relabel", str(workspace.parent / "audit.csv"), "--workspace", str(workspace), "--dry-run"])
    text = capsys.readouterr().err
    assert "Correct labels: 1 changed (ant to bee: 1), 1 row dropped" in text
    assert f"{changed}: ant -> bee" in text
    assert f"{dropped}: bee -> dropped" in text
    assert "as before: this was a dry run" in text


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["apply_corrections", "commit_dataset"])
def test_a_kill_leaves_the_old_table_or_the_whole_new_one(workspace: Path, capsys: pytest.CaptureFixture[str], moment: str) -> None:
    """Killed before the table is written, or between that and the commit; the next command goes on from there."""
    before = labels(workspace)
    rows, changed, _ = rows_for(workspace)
    rows = rows.splitlines()[0] + "\n"
    (workspace.parent / "audit.csv").write_text(HEADER + rows)
    place = "flows.relabelling" if moment == "apply_corrections" else "pipelines.versioning.dataset"
    program = textwrap.dedent(f"""
        import importlib, os, signal
        module = importlib.import_module({place!r})
        setattr(module, {moment!r}, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        from flows.cli.app import main
        main(["data", "relabel", {str(workspace.parent / "audit.csv")!r}, "--workspace", {str(workspace)!r}])
    """)
    killed = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=dict(os.environ), capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert labels(workspace) == (before if moment == "apply_corrections" else before | {changed: "bee"})
    relabel(workspace, capsys, rows)
    assert labels(workspace) == before | {changed: "bee"}
    assert git(workspace, "status", "--porcelain") == ""
    call(["validate", "--workspace", str(workspace)])
