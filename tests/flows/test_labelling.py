"""`regraft labels` in a real workspace with a champion: out to people, back, and into a dataset version."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from flows.cli.app import main
from flows.label_taking import _random_draw
from flows.session import Session
from pipelines.core.request_log import read_feedback
from pipelines.label_queue import RANDOM_PART_FRAC
from pipelines.label_tasks import LabelTask
from pipelines.labels_table import read_labels_table
from pipelines.split import unit_hash
from tests.conftest import git
from tests.flows.conftest import make_workspace, project_config
from tests.flows.registered import candidate_of, make_workspace_of_digits, register_candidate, session_of

LABELS = ("digit 0", "digit 1", "digit 2")
N_REQUESTS = 60


@dataclass(frozen=True)
class Place:
    """A workspace whose endpoint has answered; `truth` is by request id."""

    root: Path
    truth: dict[str, str]


@pytest.fixture(autouse=True)
def _own_places(identity: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "dvc-site"))
    monkeypatch.setenv("DVC_GLOBAL_CONFIG_DIR", str(tmp_path / "dvc-global"))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The workspace and its champion's id."""
    from pipelines.versioning.registry import champion, promote

    root = tmp_path_factory.mktemp("template")
    with pytest.MonkeyPatch.context() as patch:
        for role in ("AUTHOR", "COMMITTER"):
            patch.setenv(f"GIT_{role}_NAME", "Test")
            patch.setenv(f"GIT_{role}_EMAIL", "test@example.invalid")
        session = session_of(make_workspace_of_digits(root))
        version = register_candidate(session, candidate_of(session))
        promote(session.workspace.root, "digits3", version, "the first one", {})
        record = champion(session.workspace.root, "digits3")
    assert record is not None
    return root, record.bundle_id


@pytest.fixture
def place(template: tuple[Path, str], tmp_path: Path) -> Place:
    root, bundle = template
    shutil.copytree(root, tmp_path / "place", symlinks=True)
    workspace = tmp_path / "place" / "digits3"
    return Place(workspace, answer_requests(workspace / ".regraft" / "serving", bundle))


def answer_requests(serving: Path, bundle: str) -> dict[str, str]:
    """Digits that the data do not hold, answered by chance; returns their true labels."""
    from sklearn.datasets import load_digits

    digits, rng = load_digits(), np.random.default_rng(0)
    (serving / "raw").mkdir(parents=True)
    (serving / "log" / "requests").mkdir(parents=True)
    lines, truth = [], {}
    for number, index in enumerate(np.flatnonzero(digits.target < 3)[400 : 400 + N_REQUESTS]):
        buffer = io.BytesIO()
        Image.fromarray((digits.images[index] * 255 // 16).astype(np.uint8)).save(buffer, "PNG")
        sha256 = hashlib.sha256(buffer.getvalue()).hexdigest()
        (serving / "raw" / sha256).write_bytes(buffer.getvalue())
        chances = rng.dirichlet(np.ones(3))
        name = hashlib.sha256(f"request {number}".encode()).hexdigest()[:32]
        line = {"request_id": name, "time": f"2026-11-21T09:30:00.{number:06d}Z", "bundle": bundle, "domain": "field", "raw_sha256": sha256}
        line |= {"label": LABELS[int(chances.argmax())], "probabilities": chances.round(6).tolist(), "statistics": [0.5] * 6}
        lines.append(json.dumps(line | {"embedding": rng.normal(size=8).round(5).tolist()}))
        truth[name] = LABELS[digits.target[index]]
    (serving / "log" / "requests" / "2026-11-21.jsonl").write_text("\n".join(lines) + "\n")
    return truth


def call(capsys: pytest.CaptureFixture[str], place: Place, *arguments: str, code: str = r"0|None") -> dict[str, Any]:
    capsys.readouterr()
    with pytest.raises(SystemExit, match=rf"^({code})$"):
        main([*arguments, "--workspace", str(place.root), "--json"])
    content: dict[str, Any] = json.loads(capsys.readouterr().out)
    return content


def filled_in(folder: Path, truth: dict[str, str], changes: dict[int, str] | None = None) -> Path:
    """The sheet with true labels, but for some lines."""
    rows = list(csv.reader((folder / "tasks.csv").read_text().splitlines()))
    for number, row in enumerate(rows[1:]):
        row[-1] = (changes or {}).get(number, truth[row[0]])
    with (folder / "filled in.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder / "filled in.csv"


@pytest.mark.slow
def test_labels_go_out_and_come_back_as_a_dataset_version(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    out = call(capsys, place, "labels", "next", "--budget", "10")
    assert (out["tasks"], out["waiting"]) == ({"random": 2, "uncertain": 8}, N_REQUESTS)
    folder = Path(out["folder"])
    assert {path.name for path in folder.iterdir()} == {"tasks.csv", "tasks.json", "config.xml", "images", "handed_out.json"}
    assert all(
        f"/data/local-files/?d={folder.name}/images/" in one["data"]["image"] for one in json.loads((folder / "tasks.json").read_text())
    )
    taken = call(capsys, place, "labels", "take", str(filled_in(folder, place.truth)))
    assert (taken["taken"], taken["refused"], taken["random_draw"]["labelled"]) == (10, [], 2)
    again = call(capsys, place, "labels", "take", str(filled_in(folder, place.truth)))
    assert (again["taken"], again["known"]) == (0, 10)
    head = git(place.root, "rev-parse", "HEAD")
    ingested = call(capsys, place, "ingest")
    assert (ingested["added"], ingested["findings"]) == (10, [])
    assert git(place.root, "rev-parse", "HEAD") != head
    assert git(place.root, "status", "--porcelain") == ""
    rows = read_labels_table(place.root / "data" / "labels.csv").rows[-10:]
    tasks = {task["sha256"][:32]: task["request_id"] for task in json.loads((folder / "handed_out.json").read_text())}
    assert {(row.label, row.domain) for row in rows} == {(place.truth[tasks[Path(row.path).stem]], "field") for row in rows}
    assert call(capsys, place, "ingest")["added"] == 0
    assert call(capsys, place, "labels", "next")["waiting"] == N_REQUESTS - 10


@pytest.mark.slow
def test_the_monitor_hears_of_the_random_draw_alone(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """Inputs that were picked for being hard would look like a model that fails."""
    folder = Path(call(capsys, place, "labels", "next", "--budget", "10")["folder"])
    call(capsys, place, "labels", "take", str(filled_in(folder, place.truth)))
    drawn = {task["request_id"] for task in json.loads((folder / "handed_out.json").read_text()) if task["picked_by"] == "random"}
    assert {line["request_id"] for line in read_feedback(place.root / ".regraft" / "serving" / "log")} == drawn


@pytest.mark.slow
def test_what_is_out_is_not_handed_out_again_unless_asked(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    first = call(capsys, place, "labels", "next", "--budget", "10", "--images", "base64")
    second = call(capsys, place, "labels", "next", "--budget", "10")
    assert second["handed_out_before"] == 10
    names = [{task["request_id"] for task in json.loads((Path(one["folder"]) / "handed_out.json").read_text())} for one in (first, second)]
    assert not names[0] & names[1]
    third = call(capsys, place, "labels", "next", "--budget", "10", "--again")
    assert {task["request_id"] for task in json.loads((Path(third["folder"]) / "handed_out.json").read_text())} == names[0]
    everything = call(capsys, place, "labels", "next", "--budget", "100")
    assert sum(everything["tasks"].values()) == N_REQUESTS - 20
    assert call(capsys, place, "labels", "next")["folder"] is None


def drawn_task(request: str, content: str, predicted: str, model: str = "a" * 16) -> LabelTask:
    about = {"path": "images/x.png", "confidence": 0.6, "picked_by": "random"}
    return LabelTask.model_validate({"request_id": request * 32, "sha256": content * 64, "predicted": predicted, "model": model, **about})


@pytest.mark.parametrize(
    ("tasks", "known", "expected"),
    [
        # One content under two requests, the older of which got the label.
        ([drawn_task("1", "c", "a"), drawn_task("2", "c", "a")], {"1": "a"}, (1, 1, 0)),
        ([drawn_task("1", "c", "a"), drawn_task("2", "c", "a")], {"1": "a", "2": "a"}, (1, 1, 0)),
        ([drawn_task("1", "c", "a"), drawn_task("2", "c", "a")], {}, (0, 0, 1)),
        # What the model that answered last says of it is judged.
        ([drawn_task("1", "c", "a"), drawn_task("2", "c", "b", "b" * 16)], {"1": "a"}, (0, 1, 0)),
        ([drawn_task("1", "c", "a"), drawn_task("2", "d", "b", "b" * 16)], {"1": "a"}, (0, 0, 1)),
    ],
)
def test_the_random_draw_is_counted_by_content(
    tmp_path: Path, tasks: list[LabelTask], known: dict[str, str], expected: tuple[int, int, int]
) -> None:
    session = Session(make_workspace(tmp_path / "workspace"), project_config("toy"))
    by_request = {task.request_id: task for task in tasks}
    assert _random_draw(session, by_request, {name * 32: label for name, label in known.items()}) == expected


@pytest.mark.slow
def test_an_input_that_was_handed_out_twice_is_not_open_once_it_has_a_label(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    first = Path(call(capsys, place, "labels", "next", "--budget", "5", "--random-frac", "1")["folder"])
    log = place.root / ".regraft" / "serving" / "log" / "requests" / "2026-11-21.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    newer = [line | {"request_id": line["request_id"][::-1], "time": line["time"].replace("T09", "T10")} for line in lines]
    log.write_text("".join(f"{json.dumps(line)}\n" for line in [*lines, *newer]))
    second = Path(call(capsys, place, "labels", "next", "--budget", "5", "--random-frac", "1", "--again")["folder"])
    names = [{task["request_id"] for task in json.loads((folder / "handed_out.json").read_text())} for folder in (first, second)]
    assert names[1] == {name[::-1] for name in names[0]}
    taken = call(capsys, place, "labels", "take", str(filled_in(first, place.truth)))
    assert (taken["random_draw"]["labelled"], taken["random_draw"]["open"]) == (5, 0)
    assert call(capsys, place, "labels", "next", "--budget", "1")["handed_out_before"] == 0


@pytest.mark.slow
def test_what_is_in_the_data_takes_no_place_in_the_draw(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    raw = place.root / ".regraft" / "serving" / "raw"
    in_order = sorted((unit_hash(file.name, "label-queue"), file) for file in raw.iterdir())
    random_part = [file for position, file in in_order if position < RANDOM_PART_FRAC]
    assert len(random_part) >= 9
    with (place.root / "data" / "labels.csv").open("a") as table:
        for number, file in enumerate(random_part[:6]):
            shutil.copyfile(file, place.root / "data" / f"known {number}.png")
            table.write(f"known {number}.png,digit 0\n")
    out = call(capsys, place, "labels", "next", "--budget", "3", "--random-frac", "1")
    assert out["tasks"] == {"random": 3, "uncertain": 0}
    handed = {task["sha256"] for task in json.loads((Path(out["folder"]) / "handed_out.json").read_text())}
    assert handed == {file.name for file in random_part[6:9]}


@pytest.mark.slow
def test_what_cannot_be_taken_is_corrected_in_the_quarantine(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(call(capsys, place, "labels", "next", "--budget", "6")["folder"])
    taken = call(capsys, place, "labels", "take", str(filled_in(folder, place.truth, {0: "digit 7", 1: ""})))
    assert (taken["taken"], len(taken["refused"])) == (4, 2)
    quarantine = Path(taken["quarantine"])
    text = quarantine.read_text()
    assert "the label 'digit 7' is not in the conf file's labels" in text
    assert "has no label yet" in text
    name = text.splitlines()[1].split(",")[0]
    quarantine.write_text(text.replace(",digit 7,", f",{place.truth[name]},"))
    second = call(capsys, place, "labels", "take", str(quarantine))
    assert (second["taken"], len(second["refused"])) == (1, 1)
    assert not quarantine.exists()
    assert Path(second["quarantine"]).is_file()


@pytest.mark.slow
def test_label_studio_gives_back_what_it_got(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(call(capsys, place, "labels", "next", "--budget", "5", "--images", "base64")["folder"])
    tasks = json.loads((folder / "tasks.json").read_text())
    for number, task in enumerate(tasks):
        result = task.pop("predictions")[0]["result"]
        result[0]["value"] = {"choices": [place.truth[task["data"]["request_id"]]]}
        task |= {"id": number, "annotations": [{"id": number, "result": result, "was_cancelled": number == 4, "completed_by": 1}]}
    (folder / "export.json").write_text(json.dumps(tasks))
    taken = call(capsys, place, "labels", "take", str(folder / "export.json"))
    assert (taken["taken"], [one["problem"] for one in taken["refused"]]) == (4, ["export.json task 5: was skipped"])


@pytest.mark.slow
def test_what_a_person_reads(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    def read(*arguments: str) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit, match=r"^(0|None)$"):
            main([*arguments, "--workspace", str(place.root)])
        shown = capsys.readouterr()
        return shown.err + shown.out

    text = read("labels", "next", "--budget", "5")
    assert "4 uncertain and different from each other" in text
    assert f"{N_REQUESTS} inputs wait for a label" in text
    assert '<Choice value="digit 0"/>' in read("labels", "config")
    folder = next(path for path in (place.root / ".regraft" / "labels").iterdir())
    text = read("labels", "take", str(filled_in(folder, place.truth)))
    assert "5 labels taken, 0 known already, 0 not usable" in text
    assert "drawn at random, of inputs that no client has labelled, the model had" in text


@pytest.mark.slow
def test_a_bad_file_takes_nothing(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    call(capsys, place, "labels", "next", "--budget", "5")
    (place.root / "x.json").write_text("{")
    assert "does not read as JSON" in call(capsys, place, "labels", "take", str(place.root / "x.json"), code="3")["error"]["got"]
    assert call(capsys, place, "labels", "take", str(place.root / "none.csv"), code="2")["error"]["got"].startswith("no file at")


@pytest.mark.slow
def test_without_a_champion_nothing_is_uncertain(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workspace = make_workspace_of_digits(tmp_path)
    error = call(capsys, Place(workspace.root, {}), "labels", "next", code="2")["error"]
    assert error["got"] == "a project digits3 without a champion."


@pytest.mark.slow
def test_ingestion_keeps_what_it_cannot_use(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    source = place.root.parent / "new"
    raw = sorted((place.root / ".regraft" / "serving" / "raw").iterdir())
    for name, file in (("digit 0", raw[0]), ("digit 9", raw[1])):
        (source / name).mkdir(parents=True)
        shutil.copyfile(file, source / name / "a.png")
    first = call(capsys, place, "ingest", str(source))
    assert (first["added"], len(first["findings"])) == (1, 1)
    table = Path(first["quarantine"]) / "labels.csv"
    table.write_text(table.read_text().replace("digit 9", "digit 1"))
    second = call(capsys, place, "ingest", first["quarantine"])
    assert (second["added"], second["quarantine"]) == (1, None)
    assert [path.name for path in Path(first["quarantine"]).parent.iterdir()] == ["taken"]
