"""Label Studio's formats: tasks with the model's answers as pre-annotations, the labelling interface, and the exports JSON and JSON-MIN.

Formats: https://labelstud.io/guide/task_format, https://labelstud.io/guide/predictions, https://labelstud.io/guide/export
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal
from xml.sax.saxutils import quoteattr

from pipelines.core.errors import DataError
from pipelines.core.label_sets import SEPARATOR, LabelsPerSample, members_of
from pipelines.label_answers import Answer
from pipelines.label_objects import LABEL_OBJECTS, LabelObject, shown_text
from pipelines.label_tasks import LabelTask
from pipelines.text_rows import text_bytes

Links = Literal["local-files", "base64"]
_CONTROL = "label"


def labelling_config(labels: Sequence[str], labels_per_sample: LabelsPerSample, kind: str = "image") -> str:
    """The labelling interface, as XML for a project's settings (Labeling Interface, Code)."""
    shown = LABEL_OBJECTS[kind]
    choice = 'choice="single-radio" required="true"' if labels_per_sample == "one" else 'choice="multiple" required="false"'
    choices = "\n".join(f"    <Choice value={quoteattr(label)}/>" for label in labels)
    return (
        f'<View>\n  <{shown.tag} name="{shown.name}" value="${shown.name}"/>\n'
        f'  <Choices name="{_CONTROL}" toName="{shown.name}" {choice} showInline="true">\n{choices}\n  </Choices>\n</View>\n'
    )


def as_tasks(
    tasks: Sequence[LabelTask], folder: Path, links: Links, labels_per_sample: LabelsPerSample, kind: str = "image"
) -> list[dict[str, Any]]:
    """Tasks to import.

    Args:
        tasks: That were handed out in `folder`.
        folder: With their files.
        links: `local-files`: links that Label Studio's local file serving resolves, its document root being the folder above `folder`;
            `base64`: the images or sounds themselves are in the file. Texts always are.
        labels_per_sample: Of the project.
        kind: Its task: what inputs are.
    """
    return [_as_task(task, folder, links, labels_per_sample, kind) for task in tasks]


def _as_task(task: LabelTask, folder: Path, links: Links, labels_per_sample: LabelsPerSample, kind: str) -> dict[str, Any]:
    choices = [task.predicted] if labels_per_sample == "one" else members_of(task.predicted)
    # Not `id`: in JSON-MIN Label Studio writes its own number of the task there.
    data: dict[str, str | float] = {"request_id": task.request_id, "sha256": task.sha256, "picked_by": task.picked_by}
    shown = LABEL_OBJECTS[kind]
    data |= {"predicted": task.predicted, "confidence": task.confidence, shown.name: _shown(folder, task.path, links, shown)}
    answer = {"from_name": _CONTROL, "to_name": shown.name, "type": "choices", "value": {"choices": choices}}
    return {"data": data, "predictions": [{"model_version": task.model, "score": task.confidence, "result": [answer]}]}


def _shown(folder: Path, path: str, links: Links, shown: LabelObject) -> str:
    if shown.is_text:
        return shown_text((folder / path).read_bytes())
    if links == "local-files":
        return f"/data/local-files/?d={folder.name}/{path}"
    return f"data:{shown.media_types[Path(path).suffix]};base64,{base64.b64encode((folder / path).read_bytes()).decode()}"


def read_export(file: Path, labels_per_sample: LabelsPerSample, kind: str = "image") -> list[Answer]:
    """The labels of an export, one for each annotation; of an annotation that is none its problem.

    Args:
        file: JSON or JSON-MIN.
        labels_per_sample: Of the project: with `many` an annotation without a choice is the empty set.
        kind: The project's task: what inputs are.

    Raises:
        DataError: It is no such file, or one of other inputs than the project's.
    """
    try:
        content = json.loads(file.read_bytes())
    except ValueError as error:  # not JSON, or not UTF-8
        raise _no_export(file, f"which does not read as JSON ({error})") from error
    if not isinstance(content, list) or not all(isinstance(item, dict) for item in content):
        raise _no_export(file, "which is no list of tasks")
    _refuse_other_inputs(file, content, kind)
    found: list[Answer] = []
    for number, item in enumerate(content, start=1):
        where = f"{file.name} task {number}"
        is_task = isinstance(item.get("data"), dict)
        found += _of_task(item, where, labels_per_sample, kind) if is_task else [_of_record(item, where, kind)]
    return found


def _refuse_other_inputs(file: Path, items: Sequence[Mapping[str, Any]], kind: str) -> None:
    """Refuses a file in which nothing has the project's inputs, and something has others."""
    held = {name for item in items for name in (item["data"] if isinstance(item.get("data"), dict) else item)}
    wanted = LABEL_OBJECTS[kind].name
    others = [shown.name for shown in LABEL_OBJECTS.values() if shown.name in held]
    if others and wanted not in held:
        raise DataError(
            got=f"{file.name}, whose tasks have the field {' and '.join(others)}.",
            allowed=f"tasks of a project of task {kind}, which have the field {wanted}, as `regraft labels next` writes them.",
            next_step="export the Label Studio project that is this workspace's; nothing was taken.",
        )


def _of_task(item: Mapping[str, Any], where: str, labels_per_sample: LabelsPerSample, kind: str) -> list[Answer]:
    data = item["data"]
    name, sha256 = str(data.get("request_id") or ""), _stated_sha256(data, kind)
    annotations = item.get("annotations")
    annotations = annotations if isinstance(annotations, list) else []
    given = [entry for entry in annotations if isinstance(entry, dict) and not entry.get("was_cancelled")]
    if not given:
        problem = "was skipped" if annotations else "has no label yet"
        return [Answer(where, name, "", sha256, problem)]
    return [Answer(where, name, *_of_annotation(entry, sha256, labels_per_sample)) for entry in given]


def _of_annotation(annotation: Mapping[str, Any], sha256: str, labels_per_sample: LabelsPerSample) -> tuple[str, str, str]:
    """Label, sha256 and problem."""
    results = annotation.get("result")
    values = [entry.get("value") for entry in (results if isinstance(results, list) else []) if isinstance(entry, dict) and _is_ours(entry)]
    chosen = [choice for value in values if isinstance(value, dict) for choice in _texts(value.get("choices"))]
    if not chosen and labels_per_sample == "one":
        return "", sha256, "has an empty annotation"
    return SEPARATOR.join(chosen), sha256, ""


def _is_ours(entry: Mapping[str, Any]) -> bool:
    return entry.get("from_name") == _CONTROL and entry.get("type") == "choices"


def _of_record(item: Mapping[str, Any], where: str, kind: str) -> Answer:
    """One record of JSON-MIN: the task's data and, under the control's name, one choice, several, or nothing."""
    given = item.get(_CONTROL)
    chosen = _texts(given.get("choices") if isinstance(given, dict) else given)
    # Of an empty annotation and of none at all JSON-MIN tells the same.
    problem = "" if chosen else "has no label"
    return Answer(where, str(item.get("request_id") or ""), SEPARATOR.join(chosen), _stated_sha256(item, kind), problem)


def _texts(value: object) -> list[str]:
    return [value] if isinstance(value, str) and value else [str(one) for one in value] if isinstance(value, list) else []


def _stated_sha256(data: Mapping[str, Any], kind: str) -> str:
    """Of the input itself where it is in the file, else as the file says."""
    shown = LABEL_OBJECTS[kind]
    if shown.is_text and shown.name in data:
        return hashlib.sha256(text_bytes(str(data[shown.name]))).hexdigest()
    given = str(data.get(shown.name) or "")
    if given.startswith("data:") and ";base64," in given:
        try:
            return hashlib.sha256(base64.b64decode(given.split(";base64,", 1)[1], validate=True)).hexdigest()
        except binascii.Error:
            return "no base64"
    return str(data.get("sha256") or "")


def _no_export(file: Path, got: str) -> DataError:
    return DataError(
        got=f"{file.name}, {got}.",
        allowed="Label Studio's export as JSON or JSON-MIN, or the CSV file of `regraft labels next` with its labels.",
        next_step="export again in one of these formats; nothing was taken.",
    )
