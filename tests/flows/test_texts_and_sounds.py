"""`regraft labels` and `regraft predict` in real workspaces of texts and of sounds."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pandas as pd
import pytest

from flows.cli.app import main
from flows.new_workspace import init_workspace
from flows.promotion import promote_version
from flows.session import Session
from pipelines.config import load_config
from pipelines.labels_table import LabelRow, held_by_task, read_labels_table
from pipelines.workspace import Workspace
from tests.conftest import git
from tests.flows.registered import PROBE, candidate_of, register_candidate
from tests.flows.test_labelling import Place, call
from tests.pipelines import tiny_sounds, tiny_texts

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("identity"),
    pytest.mark.filterwarnings("ignore:_NoneStep.value will soon raise:DeprecationWarning:dvc"),
]
N_REQUESTS = 24
WORD = "secretword"
# What people may be shown in another form than the endpoint got it.
ODD_TEXTS = (f"=HYPERLINK({WORD})", f"soup\x00with {WORD}", "﻿the old anchor", 'a "quoted", text\r\nof two lines')


@dataclass(frozen=True)
class Made:
    """A workspace with a champion, and inputs that its data do not hold, with their labels."""

    root: Path
    task: str
    bundle: str
    inputs: Sequence[tuple[bytes, str]]


@pytest.fixture(autouse=True)
def _own_places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "dvc-site"))
    monkeypatch.setenv("DVC_GLOBAL_CONFIG_DIR", str(tmp_path / "dvc-global"))


def with_champion(root: Path, task: str, source: Path, backbone: Mapping[str, object], inputs: Sequence[tuple[bytes, str]]) -> Made:
    with pytest.MonkeyPatch.context() as patch:
        for role in ("AUTHOR", "COMMITTER"):
            patch.setenv(f"GIT_{role}_NAME", "Test")
            patch.setenv(f"GIT_{role}_EMAIL", "test@example.invalid")
        init_workspace(root / "tiny", source, task, backbone=backbone)
        session = Session(Workspace.at(root / "tiny"), load_config(root / "tiny" / "conf" / "tiny.yaml", (PROBE,)))
        version = register_candidate(session, candidate_of(session))
        return Made(root, task, promote_version(session, version, "the first one").bundle_id, inputs)


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Made:
    root = tmp_path_factory.mktemp("texts")
    source = tiny_texts.write_table(root / "source.csv", tiny_texts.sentences(120))
    inputs = [*((text, "cooking") for text in ODD_TEXTS), *tiny_texts.sentences(N_REQUESTS - len(ODD_TEXTS), seed=5)]
    backbone = tiny_texts.backbone_entry(tiny_texts.write_model(root / "model"))
    return with_champion(root, "text", source, backbone, [(text.encode(), label) for text, label in inputs])


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Made:
    root = tmp_path_factory.mktemp("sounds")
    source = tiny_sounds.write_sounds(root / "source", 60)
    inputs = []
    for number in range(N_REQUESTS):
        label, kind = tiny_sounds.LABELS[number % 2], ("WAV", "FLAC", "OGG")[number % 3]
        inputs.append((tiny_sounds.as_file(tiny_sounds.sound(label, 500 + number), kind=kind), label))
    backbone = tiny_sounds.backbone_entry(tiny_sounds.write_weights(root / "w.safetensors"))
    return with_champion(root, "audio", source, backbone, inputs)


@pytest.fixture(params=["texts", "sounds"])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Made:
    template: Made = request.getfixturevalue(request.param)
    shutil.copytree(template.root, tmp_path / "place", symlinks=True)
    return Made(tmp_path / "place" / "tiny", template.task, template.bundle, template.inputs)


@pytest.fixture
def place(made: Made) -> Place:
    return Place(made.root, answer_requests(made))


def answer_requests(made: Made) -> dict[str, str]:
    """Each input answered by chance; returns their true labels."""
    serving, rng = made.root / ".regraft" / "serving", np.random.default_rng(0)
    (serving / "raw").mkdir(parents=True)
    (serving / "log" / "requests").mkdir(parents=True)
    labels = sorted({label for _, label in made.inputs})
    lines, truth = [], {}
    for number, (content, label) in enumerate(made.inputs):
        sha256 = hashlib.sha256(content).hexdigest()
        (serving / "raw" / sha256).write_bytes(content)
        chances = rng.dirichlet(np.ones(2))
        line = {"request_id": sha256[:32], "time": f"2026-11-21T09:30:00.{number:06d}Z", "bundle": made.bundle, "raw_sha256": sha256}
        line |= {"domain": "field", "label": labels[int(chances.argmax())], "probabilities": chances.round(6).tolist()}
        lines.append(json.dumps(line | {"statistics": [0.5] * 8, "embedding": rng.normal(size=8).round(5).tolist()}))
        truth[sha256[:32]] = label
    (serving / "log" / "requests" / "2026-11-21.jsonl").write_text("\n".join(lines) + "\n")
    return truth


def sheet(folder: Path) -> list[dict[str, str]]:
    with (folder / "tasks.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def filled_in(folder: Path, truth: Mapping[str, str]) -> Path:
    rows = [row | {"label": truth[row["id"]]} for row in sheet(folder)]
    with (folder / "filled in.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder / "filled in.csv"


def exported(folder: Path, truth: Mapping[str, str]) -> list[dict[str, Any]]:
    """The tasks as Label Studio exports them, all labelled rightly."""
    tasks: list[dict[str, Any]] = json.loads((folder / "tasks.json").read_text(encoding="utf-8"))
    for number, task in enumerate(tasks):
        result = task.pop("predictions")[0]["result"]
        result[0]["value"] = {"choices": [truth[task["data"]["request_id"]]]}
        task |= {"id": number, "annotations": [{"id": number, "result": result, "was_cancelled": False, "completed_by": 1}]}
    return tasks


def written(folder: Path, tasks: object) -> str:
    (folder / "export.json").write_text(json.dumps(tasks), encoding="utf-8")
    return str(folder / "export.json")


def rows_of(made: Made) -> tuple[LabelRow, ...]:
    return read_labels_table(made.root / "data" / "labels.csv", holds=held_by_task(made.task)).rows


def test_labels_go_out_and_come_back_as_a_dataset_version(made: Made, place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    out = call(capsys, place, "labels", "next", "--budget", "100")
    assert (sum(out["tasks"].values()), out["waiting"], out["left_out"]) == (N_REQUESTS, N_REQUESTS, 0)
    folder = Path(out["folder"])
    files, suffixes = {"text": ("texts", {".txt"}), "audio": ("sounds", {".wav", ".flac", ".ogg"})}[made.task]
    assert {path.name for path in folder.iterdir()} == {"tasks.csv", "tasks.json", "config.xml", files, "handed_out.json"}
    assert {path.suffix for path in (folder / files).iterdir()} == suffixes
    assert {path.read_bytes() for path in (folder / files).iterdir()} == {content for content, _ in made.inputs}
    taken = call(capsys, place, "labels", "take", str(filled_in(folder, place.truth)))
    assert (taken["taken"], taken["refused"]) == (N_REQUESTS, [])
    before, head = len(rows_of(made)), git(place.root, "rev-parse", "HEAD")
    ingested = call(capsys, place, "ingest")
    assert (ingested["added"], ingested["findings"]) == (N_REQUESTS, [])
    assert git(place.root, "rev-parse", "HEAD") != head
    assert git(place.root, "status", "--porcelain") == ""
    new = rows_of(made)[before:]
    contents = [row.text.encode() if made.task == "text" else (made.root / "data" / row.path).read_bytes() for row in new]
    assert {(content, row.label) for content, row in zip(contents, new, strict=True)} == set(made.inputs)
    assert {row.domain for row in new} == {"field"}
    assert made.task == "text" or all(row.path.startswith("sounds/feedback/") for row in new)
    assert call(capsys, place, "ingest")["added"] == 0
    assert call(capsys, place, "labels", "next")["waiting"] == 0


def test_what_is_in_the_data_is_not_offered_and_what_is_no_such_input_is_left_out(
    made: Made, place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    serving, first = made.root / ".regraft" / "serving", rows_of(made)[0]
    known = first.text.encode() if made.task == "text" else (made.root / "data" / first.path).read_bytes()
    log = serving / "log" / "requests" / "2026-11-21.jsonl"
    line = json.loads(log.read_text().splitlines()[0])
    for number, content in enumerate((known, b"RIFF\xff and neither a text nor a sound")):
        sha256 = hashlib.sha256(content).hexdigest()
        (serving / "raw" / sha256).write_bytes(content)
        with log.open("a") as file:
            file.write(json.dumps(line | {"request_id": f"{number:032x}", "raw_sha256": sha256}) + "\n")
    out = call(capsys, place, "labels", "next", "--budget", "100")
    assert (sum(out["tasks"].values()), out["left_out"]) == (N_REQUESTS, 1)
    handed = {task["sha256"] for task in json.loads((Path(out["folder"]) / "handed_out.json").read_text())}
    assert handed == {hashlib.sha256(content).hexdigest() for content, _ in made.inputs}


@pytest.mark.parametrize("links", ["local-files", "base64"])
def test_label_studio_gives_back_what_it_got(made: Made, place: Place, capsys: pytest.CaptureFixture[str], links: str) -> None:
    folder = Path(call(capsys, place, "labels", "next", "--budget", "100", "--links", links)["folder"])
    tag = ET.fromstring((folder / "config.xml").read_text())[0]  # noqa: S314 - our own text
    field = {"text": "text", "audio": "audio"}[made.task]
    assert (tag.tag, tag.get("name"), tag.get("value")) == (field.capitalize(), field, f"${field}")
    taken = call(capsys, place, "labels", "take", written(folder, exported(folder, place.truth)))
    assert (taken["taken"], taken["refused"]) == (N_REQUESTS, [])


def test_bad_answers_go_to_a_quarantine_that_can_be_corrected(made: Made, place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(call(capsys, place, "labels", "next", "--budget", "100", "--links", "base64")["folder"])
    tasks = exported(folder, place.truth)
    field = {"text": "text", "audio": "audio"}[made.task]
    tasks[0]["data"][field] = tasks[1]["data"][field]
    tasks[2]["annotations"][0]["result"][0]["value"] = {"choices": ["wasp"]}
    tasks[3]["annotations"][0]["was_cancelled"] = True
    tasks[4]["data"]["request_id"] = "f" * 32
    taken = call(capsys, place, "labels", "take", written(folder, tasks))
    assert taken["taken"] == N_REQUESTS - 4
    assert [one["problem"].split(": ", 1)[1].split(" is not in")[0] for one in taken["refused"]] == [
        "its bytes are not those that were handed out",
        "the label 'wasp'",
        "was skipped",
        f"no input with the id {'f' * 32!r} was handed out",
    ]
    with Path(taken["quarantine"]).open(encoding="utf-8", newline="") as file:
        refused = list(csv.DictReader(file))
    assert ("text" in refused[0]) == (made.task == "text")
    corrected = [row | {"label": place.truth[row["id"]]} for row in refused if row["id"] in place.truth]
    with Path(taken["quarantine"]).open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(corrected[0]))
        writer.writeheader()
        writer.writerows(corrected)
    second = call(capsys, place, "labels", "take", taken["quarantine"])
    assert (second["taken"], second["refused"], Path(taken["quarantine"]).exists()) == (3, [], False)


def test_an_export_of_other_inputs_is_refused_whole(made: Made, place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(call(capsys, place, "labels", "next", "--budget", "5")["folder"])
    tasks = exported(folder, place.truth)
    for task in tasks:
        task["data"]["image"] = task["data"].pop("text" if made.task == "text" else "audio")
    error = call(capsys, place, "labels", "take", written(folder, tasks), code="3")["error"]
    assert error["got"] == "export.json, whose tasks have the field image."
    assert call(capsys, place, "labels", "take", str(filled_in(folder, place.truth)))["known"] == 0


def test_no_word_of_a_text_is_said_or_logged(
    made: Made, place: Place, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    folder = Path(call(capsys, place, "labels", "next", "--budget", "100")["folder"])
    if made.task == "text":
        assert sum(WORD in row["text"] for row in sheet(folder)) == 2
        assert f"'=HYPERLINK({WORD})" in {row["text"] for row in sheet(folder)}
    tasks = exported(folder, place.truth)
    for task in tasks:
        task["annotations"][0]["result"][0]["value"] = {"choices": ["wasp"]}
    for arguments in (["labels", "next", "--again"], ["labels", "take", written(folder, tasks)], ["ingest"]):
        capsys.readouterr()
        with pytest.raises(SystemExit):
            main([*arguments, "--workspace", str(place.root)])
        shown = capsys.readouterr()
        assert shown.err + shown.out
        assert WORD not in shown.err + shown.out + caplog.text


def test_the_champion_predicts_a_batch(made: Made, place: Place, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    source, out = tmp_path / "batch", tmp_path / "out.csv"
    source.mkdir()
    contents = [content for content, _ in made.inputs]
    if made.task == "text":
        source = source / "new.jsonl"
        source.write_text("".join(json.dumps({"text": content.decode()}) + "\n" for content in contents))
    else:
        for number, content in enumerate(contents):
            (source / f"{number:02d}.wav").write_bytes(content)
    summary = call(capsys, place, "predict", str(source), "--out", str(out))
    assert (summary["n_predicted"], summary["n_problems"], summary["bundle"]) == (N_REQUESTS, 0, made.bundle)
    assert WORD not in out.read_text()
    # Even untrained features tell these apart, but for the odd texts.
    assert np.mean(pd.read_csv(out)["label"] == [label for _, label in made.inputs]) > 0.75
