"""The command line on good and bad input: exit codes, and sentences that name the thing, what is allowed and the next step."""

from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from flows.cli.app import main
from tests.conftest import git


@pytest.fixture(autouse=True)
def _own_places(identity: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "dvc-site"))
    monkeypatch.setenv("DVC_GLOBAL_CONFIG_DIR", str(tmp_path / "dvc-global"))


def photos(folder: Path, n_per_class: int = 12, classes: tuple[str, ...] = ("Käfer groß", "ant")) -> Path:
    rng = np.random.default_rng(0)
    for index, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for number in range(n_per_class):
            pixels = rng.integers(0, 128, (16, 16), dtype=np.uint8) + np.uint8(127 * (index % 2))
            Image.fromarray(pixels).save(folder / name / f"Bild {number} é.png")
    return folder


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("template")
    with pytest.MonkeyPatch.context() as patch:
        for role in ("AUTHOR", "COMMITTER"):
            patch.setenv(f"GIT_{role}_NAME", "Test")
            patch.setenv(f"GIT_{role}_EMAIL", "test@example.invalid")
        main_ok(["init", str(root / "insects"), "--from", str(photos(root / "photos"))])
    return root


def main_ok(arguments: list[str]) -> None:
    with pytest.raises(SystemExit, match=r"0|None"):
        main(arguments)


@pytest.fixture
def workspace(template: Path, tmp_path: Path) -> Path:
    shutil.copytree(template, tmp_path / "place", symlinks=True)
    return tmp_path / "place" / "insects"


def failure(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> tuple[int, dict[str, object]]:
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        main([*arguments, "--json"])
    error = json.loads(capsys.readouterr().out)["error"]
    assert all(error[part].strip() for part in ("got", "allowed", "next_step"))
    return int(str(caught.value.code)), error


def commit(workspace: Path) -> None:
    main_ok(["data", "commit", "-m", "planted", "--workspace", str(workspace)])


def test_adapting_by_a_schedule_is_refused(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, error = failure(capsys, ["retrain", "--adapt", "--trigger", "schedule", "--workspace", str(workspace)])
    assert (code, error["got"]) == (2, "--trigger schedule and --adapt.")


def test_reviews_without_the_demo_of_texts_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^2$"):
        main(["demo", "--reviews", str(tmp_path / "reviews.csv.gz"), "--folder", str(tmp_path / "demo")])
    assert "--reviews with --task image" in capsys.readouterr().err
    assert not (tmp_path / "demo").exists()


def test_an_adaptation_that_cannot_run_is_refused_before_it_starts(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["retrain", "--adapt", "--workspace", str(workspace), "--set", "compute.processes=2"]
    code, error = failure(capsys, arguments)
    assert code == 2
    assert "by: shot runs in one process" in str(error["got"])


def test_init_makes_a_workspace_that_validates(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    conf = yaml.safe_load((workspace / "conf" / "insects.yaml").read_text(encoding="utf-8"))
    assert conf["labels"] == ["Käfer groß", "ant"]
    assert (workspace / "data.dvc").is_file()
    assert git(workspace, "status", "--porcelain") == ""
    main_ok(["validate", "--workspace", str(workspace), "--json"])
    report = json.loads(capsys.readouterr().out)
    page = Path(report["reports"]["data_docs"]).read_text(encoding="utf-8")
    assert "Käfer groß" in page
    assert 'src="http' not in page
    assert "url(http" not in page


def test_all_bad_samples_come_in_one_table(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = workspace / "data"
    table = (data / "labels.csv").read_text(encoding="utf-8").splitlines()
    paths = [line.split(",")[0] for line in table[1:]]
    truncated, twin, wrong, missing = paths[0], paths[1], paths[2], paths[3]
    (data / truncated).write_bytes((data / truncated).read_bytes()[:60])
    shutil.copyfile(data / twin, data / "twin.png")
    (data / missing).unlink()
    lines = [line.replace(",Käfer groß", ",wasp") if line.startswith(wrong) else line for line in table]
    (data / "labels.csv").write_text("\n".join([*lines, "twin.png,ant" + "," * (table[0].count(",") - 1)]) + "\n", encoding="utf-8")
    commit(workspace)
    code, error = failure(capsys, ["validate", "--workspace", str(workspace)])
    assert code == 3
    found = " | ".join(f"{item['where']}: {item['problem']}" for item in error["findings"])  # type: ignore[attr-defined]
    for part in (Path(truncated).name, Path(missing).name, "wasp", "twin.png"):
        assert part in found


@pytest.mark.parametrize(
    ("classes", "counts", "message"), [(("ant",), 12, "one|1"), (("ant", "bee", "empty"), 12, "empty"), ((), 0, "class")]
)
def test_classes_that_cannot_be_learned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], classes: tuple[str, ...], counts: int, message: str
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    photos(source, counts, tuple(name for name in classes if name != "empty"))
    if "empty" in classes:
        (source / "empty").mkdir()
    code, error = failure(capsys, ["init", str(tmp_path / "project"), "--from", str(source)])
    assert code == 3
    assert any(word in json.dumps(error) for word in message.split("|"))
    assert not (tmp_path / "project").exists()
    assert not list(tmp_path.glob(".project-*"))


def test_a_folder_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, error = failure(capsys, ["init", str(tmp_path / "project"), "--from", str(tmp_path / "nowhere")])
    assert code == 2
    assert "nowhere" in str(error["got"])


def test_a_folder_that_is_taken(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, error = failure(capsys, ["init", str(workspace), "--from", str(workspace.parent / "photos")])
    assert code == 2
    assert "not empty" in str(error["got"])


def test_a_name_that_is_no_project(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, error = failure(capsys, ["init", str(tmp_path / "7"), "--from", str(photos(tmp_path / "photos"))])
    assert (code, error["code"]) == (2, "configuration")


def test_what_is_no_workspace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, error = failure(capsys, ["status", "--workspace", str(tmp_path)])
    assert code == 2
    assert "regraft init" in str(error["next_step"])


def test_an_unknown_key(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    conf = workspace / "conf" / "insects.yaml"
    conf.write_text(conf.read_text(encoding="utf-8") + "\nlearning_rate: 1\n", encoding="utf-8")
    code, error = failure(capsys, ["retrain", "--workspace", str(workspace)])
    assert code == 2
    assert "'learning_rate' is no key here; allowed: adaptation, backbone, bundle" in str(error["got"])


def test_data_that_is_not_committed(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workspace / "data" / "new.txt").write_text("x")
    code, error = failure(capsys, ["validate", "--workspace", str(workspace)])
    assert code in (2, 3)
    assert "data commit" in str(error["next_step"])


def test_a_remote_that_is_gone(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    remote = next(line.split("=")[1].strip() for line in (workspace / ".dvc" / "config").read_text().splitlines() if "url =" in line)
    moved = (workspace / ".dvc" / remote).resolve() if not Path(remote).is_absolute() else Path(remote)
    before = git(workspace, "rev-parse", "HEAD")
    moved.rename(moved.with_name("gone"))
    try:
        (workspace / "data" / "note.txt").write_text("x")
        code, error = failure_of_commit(capsys, workspace)
    finally:
        moved.with_name("gone").rename(moved)
    assert code == 2
    assert "remote" in error
    assert git(workspace, "rev-parse", "HEAD") == before


def failure_of_commit(capsys: pytest.CaptureFixture[str], workspace: Path) -> tuple[int, str]:
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        main(["data", "commit", "-m", "x", "--workspace", str(workspace)])
    return int(str(caught.value.code)), capsys.readouterr().err


def test_no_git_identity(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.delenv(f"GIT_{role}_NAME")
        monkeypatch.delenv(f"GIT_{role}_EMAIL")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    code, error = failure(capsys, ["init", str(tmp_path / "project"), "--from", str(photos(tmp_path / "photos"))])
    assert code == 2
    assert "git config" in str(error["next_step"])
    assert not (tmp_path / "project").exists()


def test_a_port_in_use(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SystemExit, match="2"):
            main(["serve", "--workspace", str(workspace), "--port", str(port)])
    message = capsys.readouterr().err
    assert f"port {port}" in message
    assert "--port" in message


def test_an_ingestion_that_was_killed_is_finished_by_the_next(workspace: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Killed after the samples were added and before they were committed: without the mark, nothing could retrain any more."""
    (workspace / ".regraft").mkdir(exist_ok=True)
    (workspace / ".regraft" / "ingesting").touch()
    shutil.copyfile(next((workspace / "data").rglob("*.png")), workspace / "data" / "half.png")
    main_ok(["ingest", str(photos(tmp_path / "more")), "--workspace", str(workspace), "--json"])
    capsys.readouterr()
    assert not (workspace / ".regraft" / "ingesting").exists()
    assert git(workspace, "status", "--porcelain") == ""
    assert "Finish an ingestion that was interrupted" in git(workspace, "log", "--format=%s")


def test_folders_are_ingested_once(workspace: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    more = tmp_path / "more" / "ant"
    more.mkdir(parents=True)
    Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).save(more / "new.png")
    for expected in (1, 0):
        capsys.readouterr()
        main_ok(["ingest", str(more.parent), "--workspace", str(workspace), "--json"])
        assert json.loads(capsys.readouterr().out)["added"] == expected


def test_a_writer_excludes_another(workspace: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    from flows.exclusive import only_writer
    from pipelines.workspace import Workspace

    with only_writer(Workspace(workspace)):
        code, error = failure(capsys, ["ingest", str(photos(tmp_path / "more")), "--workspace", str(workspace)])
    assert (code, error["code"]) == (1, "refused")


def test_nothing_to_serve_yet(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["serve", "--workspace", str(workspace), "--port", "39999"])
    assert "regraft retrain" in capsys.readouterr().err


def test_status_of_a_new_workspace(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main_ok(["status", "--workspace", str(workspace), "--json"])
    status = json.loads(capsys.readouterr().out)
    nothing = dict.fromkeys(("champion", "endpoint", "prefect_ui", "last_run", "last_verdict"))
    trigger = {"holds": {"stop": None, "snooze": None}, "decisions": [], "n_damaged_rows": 0}
    assert status == {"project": "insects", **nothing, "trigger": trigger}


def test_a_person_stops_snoozes_and_resumes(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = ["--workspace", str(workspace)]
    code, error = failure(capsys, ["trigger", "snooze", "soon", "--why", "audit", *place])
    assert (code, "for example 12h" in str(error["allowed"])) == (2, True)
    main_ok(["trigger", "snooze", "12h", "--why", "audit", *place])
    main_ok(["trigger", "stop", "--why", "the line is being rebuilt", "--by", "Ada", *place])
    capsys.readouterr()
    main_ok(["status", *place])
    shown = capsys.readouterr().out
    assert "automation    stopped by Ada since" in shown
    assert "decisions about retraining" in shown
    main_ok(["trigger", "resume", "--json", *place])
    assert json.loads(capsys.readouterr().out) == {"stop": None, "snooze": None}
    main_ok(["status", "--json", *place])
    decisions = json.loads(capsys.readouterr().out)["trigger"]["decisions"]
    assert [row["action"] for row in decisions] == ["snooze", "stop", "resume"]
    path = workspace / ".regraft" / "trigger" / "insects.jsonl"
    path.write_bytes(path.read_bytes() + b'{"at": "2026')
    main_ok(["status", *place])
    assert "1 damaged rows of the decisions were passed over" in capsys.readouterr().out


def test_doctor_names_what_is_missing(workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main_ok(["doctor", "--workspace", str(workspace), "--json"])
    assert all(finding["ok"] for finding in json.loads(capsys.readouterr().out))
    with pytest.raises(SystemExit, match="2"):
        main(["doctor", "--workspace", str(tmp_path), "--json"])
    found = {finding["name"]: finding for finding in json.loads(capsys.readouterr().out)}
    assert not found["workspace"]["ok"]


def test_doctor_looks_at_the_teams_behaviour_tests(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    conf = workspace / "conf" / "insects.yaml"
    content = yaml.safe_load(conf.read_text())
    content["gates"].append({"kind": "behaviour", "file": "behaviour.yaml"})
    conf.write_text(yaml.safe_dump(content))
    with pytest.raises(SystemExit, match="2"):
        main(["doctor", "--workspace", str(workspace), "--json"])
    found = {finding["name"]: finding for finding in json.loads(capsys.readouterr().out)}
    assert not found["behaviour tests"]["ok"]
    assert "behaviour.yaml" in found["behaviour tests"]["found"]


def test_an_unforeseen_error_is_no_refusal(workspace: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's own exit status for a traceback is 1, which scripts read as `a gate refused`."""
    monkeypatch.setattr("flows.status.read_status", lambda session: 1 / 0)
    code, error = failure(capsys, ["status", "--workspace", str(workspace)])
    assert (code, error["code"]) == (4, "internal")
    assert "ZeroDivisionError" in str(error["got"])


def test_an_unknown_option_is_wrong_use() -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["retrain", "--no-such-option"])
