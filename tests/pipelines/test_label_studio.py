"""Tasks fit Label Studio's documented format, its exports are read back, and what is no label is said."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import jsonschema
import pytest

from pipelines.core.errors import DataError
from pipelines.label_answers import Answer
from pipelines.label_studio import as_tasks, labelling_config, read_export
from pipelines.label_tasks import LabelTask
from tests.pipelines.planted import picture

# Of https://labelstud.io/guide/predictions and https://labelstud.io/tags/choices, for a project with one image and one set of choices.
TASKS_SCHEMA = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["data", "predictions"],
        "additionalProperties": False,
        "properties": {
            "data": {
                "type": "object",
                "required": ["image"],
                "properties": {"image": {"type": "string", "pattern": "^(/data/|data:image/)"}},
            },
            "predictions": {
                "type": "array",
                "maxItems": 1,
                "items": {
                    "type": "object",
                    "required": ["model_version", "score", "result"],
                    "properties": {
                        "model_version": {"type": "string"},
                        "score": {"type": "number", "minimum": 0, "maximum": 1},
                        "result": {
                            "type": "array",
                            "items": {
                                "type": "object",
                                "required": ["from_name", "to_name", "type", "value"],
                                "properties": {
                                    "from_name": {"const": "label"},
                                    "to_name": {"const": "image"},
                                    "type": {"const": "choices"},
                                    "value": {
                                        "type": "object",
                                        "required": ["choices"],
                                        "properties": {"choices": {"type": "array", "items": {"enum": ["ant", 'be"e & <co>']}}},
                                    },
                                },
                            },
                        },
                    },
                },
            },
        },
    },
}
LABELS = ("ant", 'be"e & <co>')
IDENTITY = "0" * 31 + "1"


def task(predicted: str = "ant") -> LabelTask:
    return LabelTask(
        request_id=IDENTITY,
        sha256=hashlib.sha256(picture(0)).hexdigest(),
        path="images/a.png",
        predicted=predicted,
        confidence=0.75,
        picked_by="uncertain",
        model="a" * 16,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "20261121" / "images").mkdir(parents=True)
    (tmp_path / "20261121" / "images" / "a.png").write_bytes(picture(0))
    return tmp_path / "20261121"


def export(tmp_path: Path, content: object) -> Path:
    (tmp_path / "export.json").write_text(json.dumps(content))
    return tmp_path / "export.json"


def annotated(*annotations: dict[str, Any], **data: str) -> dict[str, Any]:
    """A task of the export `JSON`."""
    return {"id": 7, "annotations": list(annotations), "data": {"request_id": IDENTITY, "image": "/data/local-files/?d=a", **data}}


def annotation(*choices: str, cancelled: bool = False, **value: Any) -> dict[str, Any]:
    result = [{"id": "x1", "from_name": "label", "to_name": "image", "type": "choices", "value": {"choices": list(choices), **value}}]
    return {"id": 1, "completed_by": 1, "result": result if choices else [], "was_cancelled": cancelled, "lead_time": 4.2}


@pytest.mark.parametrize("links", ["local-files", "base64"])
def test_tasks_fit_the_documented_format(folder: Path, links: Any) -> None:
    content = as_tasks([task(), task('be"e & <co>')], folder, links, "one")
    jsonschema.validate(json.loads(json.dumps(content)), TASKS_SCHEMA)
    (first, _) = content
    assert first["data"]["request_id"] == IDENTITY
    assert first["data"]["picked_by"] == "uncertain"
    assert first["predictions"][0]["result"][0]["value"] == {"choices": ["ant"]}
    assert "id" not in first["data"]  # JSON-MIN would overwrite it


def test_a_set_is_several_choices_and_the_empty_one_is_none(folder: Path) -> None:
    content = as_tasks([task('ant|be"e & <co>'), task("")], folder, "local-files", "many")
    assert [one["predictions"][0]["result"][0]["value"]["choices"] for one in content] == [list(LABELS), []]


def test_links_and_images(folder: Path) -> None:
    (local,) = as_tasks([task()], folder, "local-files", "one")
    assert local["data"]["image"] == "/data/local-files/?d=20261121/images/a.png"
    (inside,) = as_tasks([task()], folder, "base64", "one")
    head, _, body = inside["data"]["image"].partition(",")
    assert (head, base64.b64decode(body)) == ("data:image/png;base64", picture(0))


@pytest.mark.parametrize(("kind", "choice", "required"), [("one", "single-radio", "true"), ("many", "multiple", "false")])
def test_the_labelling_interface_lists_the_labels(kind: Any, choice: str, required: str) -> None:
    view = ET.fromstring(labelling_config(LABELS, kind))  # noqa: S314 - our own text
    choices = view.find("Choices")
    assert choices is not None
    assert [one.get("value") for one in choices] == list(LABELS)
    assert (choices.get("choice"), choices.get("required"), choices.get("toName")) == (choice, required, "image")
    image = view.find("Image")
    assert image is not None
    assert (image.get("name"), image.get("value")) == ("image", "$image")


def test_an_annotation_is_a_label(tmp_path: Path) -> None:
    file = export(tmp_path, [annotated(annotation("bee"), sha256="f" * 64)])
    assert read_export(file, "one") == [Answer("export.json task 1", IDENTITY, "bee", "f" * 64)]


@pytest.mark.parametrize(
    ("item", "problem"),
    [
        (annotated(), "has no label yet"),
        (annotated(annotation("bee", cancelled=True)), "was skipped"),
        (annotated(annotation()), "has an empty annotation"),
        (annotated({"result": None}), "has an empty annotation"),
        (annotated({"result": [{"from_name": "other", "type": "choices", "value": {"choices": ["bee"]}}]}), "has an empty annotation"),
        ({"request_id": IDENTITY, "annotation_id": 1}, "has no label"),
        ({"request_id": IDENTITY, "label": {"choices": []}}, "has no label"),
    ],
)
def test_what_is_no_label_is_said(tmp_path: Path, item: dict[str, Any], problem: str) -> None:
    (answer,) = read_export(export(tmp_path, [item]), "one")
    assert (answer.request_id, answer.label, answer.problem) == (IDENTITY, "", problem)


def test_each_annotator_is_heard_and_a_skip_beside_a_label_is_not(tmp_path: Path) -> None:
    file = export(tmp_path, [annotated(annotation("ant"), annotation("bee"), annotation("ant", cancelled=True))])
    assert [answer.label for answer in read_export(file, "one")] == ["ant", "bee"]


def test_without_a_choice_a_set_is_empty(tmp_path: Path) -> None:
    (empty, full) = read_export(export(tmp_path, [annotated(annotation()), annotated(annotation("bee", "ant"))]), "many")
    assert (empty.label, empty.problem) == ("", "")
    assert (full.label, full.problem) == ("bee|ant", "")


@pytest.mark.parametrize(
    ("given", "expected"), [("bee", "bee"), (["bee"], "bee"), ({"choices": ["bee", "ant"]}, "bee|ant"), (["ant", "bee"], "ant|bee")]
)
def test_json_min(tmp_path: Path, given: object, expected: str) -> None:
    record = {"id": 7, "request_id": IDENTITY, "sha256": "f" * 64, "image": "/data/x", "label": given, "annotator": 1, "annotation_id": 3}
    assert read_export(export(tmp_path, [record]), "many") == [Answer("export.json task 1", IDENTITY, expected, "f" * 64)]


def test_an_image_in_the_file_tells_its_bytes(tmp_path: Path) -> None:
    inside = "data:image/png;base64," + base64.b64encode(picture(5)).decode()
    (answer,) = read_export(export(tmp_path, [annotated(annotation("ant"), image=inside, sha256="f" * 64)]), "one")
    assert answer.sha256 == hashlib.sha256(picture(5)).hexdigest()
    (torn,) = read_export(export(tmp_path, [annotated(annotation("ant"), image=inside + "!")]), "one")
    assert torn.sha256 == "no base64"


def other_task(path: str) -> LabelTask:
    return task().model_copy(update={"path": path})


@pytest.mark.parametrize("links", ["local-files", "base64"])
def test_a_text_is_in_its_task_however_files_are_linked(tmp_path: Path, links: Any) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_bytes("a <b>text</b>\r\n⛵ with\0NUL".encode())
    (content,) = as_tasks([other_task("texts/a.txt")], tmp_path, links, "one", "text")
    assert content["data"]["text"] == "a <b>text</b>\r\n⛵ with NUL"
    assert "image" not in content["data"]
    assert content["predictions"][0]["result"][0]["to_name"] == "text"


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg"])
def test_a_sound_is_linked_or_in_its_task(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "sounds").mkdir()
    (tmp_path / "sounds" / f"a.{suffix}").write_bytes(b"some sound")
    given = [other_task(f"sounds/a.{suffix}")]
    assert as_tasks(given, tmp_path, "local-files", "one", "audio")[0]["data"]["audio"] == (
        f"/data/local-files/?d={tmp_path.name}/sounds/a.{suffix}"
    )
    head, _, body = as_tasks(given, tmp_path, "base64", "one", "audio")[0]["data"]["audio"].partition(",")
    assert (head, base64.b64decode(body)) == (f"data:audio/{suffix};base64", b"some sound")


# Of https://labelstud.io/tags/text and https://labelstud.io/tags/audio: an object's tag, with a name and a field of the data.
@pytest.mark.parametrize(
    ("kind", "line"), [("text", '<Text name="text" value="$text"/>'), ("audio", '<Audio name="audio" value="$audio"/>')]
)
def test_the_labelling_interface_shows_what_inputs_are(kind: str, line: str) -> None:
    content = labelling_config(LABELS, "one", kind)
    assert content.splitlines()[1].strip() == line
    choices = ET.fromstring(content).find("Choices")  # noqa: S314 - our own text
    assert choices is not None
    assert choices.get("toName") == kind


@pytest.mark.parametrize("text", ["soup\r\nwith salt", " ⛵ ", "", "data:image/png;base64,AAAA"])
def test_a_text_in_the_file_tells_its_bytes(tmp_path: Path, text: str) -> None:
    item = annotated(annotation("ant"), text=text, sha256="f" * 64)
    (answer,) = read_export(export(tmp_path, [item]), "one", "text")
    (record,) = read_export(export(tmp_path, [{"request_id": IDENTITY, "text": text, "label": "ant"}]), "one", "text")
    assert answer.sha256 == record.sha256 == hashlib.sha256(text.encode()).hexdigest()


def test_a_text_that_is_not_in_the_file_has_the_sha256_that_is_stated(tmp_path: Path) -> None:
    (answer,) = read_export(export(tmp_path, [{"request_id": IDENTITY, "sha256": "f" * 64, "label": "ant"}]), "one", "text")
    assert answer.sha256 == "f" * 64


@pytest.mark.parametrize(("kind", "held"), [("text", "image"), ("text", "audio"), ("audio", "text"), ("audio", "image"), ("image", "text")])
def test_an_export_of_other_inputs_is_refused(tmp_path: Path, kind: str, held: str) -> None:
    said = rf"export\.json, whose tasks have the field {held}\..*task {kind}, which have the field {kind},.*nothing was taken"
    for item in ({"data": {"request_id": IDENTITY, held: "x"}, "annotations": []}, {"request_id": IDENTITY, held: "x", "label": "ant"}):
        with pytest.raises(DataError, match=said):
            read_export(export(tmp_path, [item]), "one", kind)


@pytest.mark.parametrize(
    ("content", "got"),
    [
        (b"{", "does not read as JSON"),
        (b"\xff", "does not read as JSON"),
        (b'{"tasks": []}', "is no list of tasks"),
        (b"[1]", "no list of tasks"),
    ],
)
def test_what_is_no_export_is_refused(tmp_path: Path, content: bytes, got: str) -> None:
    (tmp_path / "export.json").write_bytes(content)
    with pytest.raises(DataError, match=rf"export\.json, which .*{got.split(' ', 1)[1]}.*JSON-MIN.*nothing was taken"):
        read_export(tmp_path / "export.json", "one")
