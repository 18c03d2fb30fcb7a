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
from pipelines.label_tasks import LabelTask

ImageLinks = Literal["local-files", "base64"]
_CONTROL, _OBJECT = "label", "image"
_MEDIA_TYPES = {".png": "png", ".jpg": "jpeg", ".webp": "webp", ".bmp": "bmp", ".gif": "gif", ".tif": "tiff"}


def labelling_config(labels: Sequence[str], labels_per_sample: LabelsPerSample) -> str:
    """The labelling interface, as XML for a project's settings (Labeling Interface, Code)."""
    kind = 'choice="single-radio" required="true"' if labels_per_sample == "one" else 'choice="multiple" required="false"'
    choices = "\n".join(f"    <Choice value={quoteattr(label)}/>" for label in labels)
    return (
        f'<View>\n  <Image name="{_OBJECT}" value="${_OBJECT}"/>\n'
        f'  <Choices name="{_CONTROL}" toName="{_OBJECT}" {kind} showInline="true">\n{choices}\n  </Choices>\n</View>\n'
    )


def as_tasks(tasks: Sequence[LabelTask], folder: Path, links: ImageLinks, labels_per_sample: LabelsPerSample) -> list[dict[str, Any]]:
    """Tasks to import.

    Args:
        tasks: That were handed out in `folder`.
        folder: With their images.
        links: `local-files`: links that Label Studio's local file serving resolves, its document root being the folder above `folder`;
            `base64`: the images themselves are in the file.
        labels_per_sample: Of the project.
    """
    return [_as_task(task, folder, links, labels_per_sample) for task in tasks]


def _as_task(task: LabelTask, folder: Path, links: ImageLinks, labels_per_sample: LabelsPerSample) -> dict[str, Any]:
    choices = [task.predicted] if labels_per_sample == "one" else members_of(task.predicted)
    # Not `id`: in JSON-MIN Label Studio writes its own number of the task there.
    data: dict[str, str | float] = {"request_id": task.request_id, "sha256": task.sha256, "picked_by": task.picked_by}
    data |= {"predicted": task.predicted, "confidence": task.confidence, _OBJECT: _image(folder, task.path, links)}
    answer = {"from_name": _CONTROL, "to_name": _OBJECT, "type": "choices", "value": {"choices": choices}}
    return {"data": data, "predictions": [{"model_version": task.model, "score": task.confidence, "result": [answer]}]}


def _image(folder: Path, path: str, links: ImageLinks) -> str:
    if links == "local-files":
        return f"/data/local-files/?d={folder.name}/{path}"
    kind = _MEDIA_TYPES[Path(path).suffix]
    return f"data:image/{kind};base64,{base64.b64encode((folder / path).read_bytes()).decode()}"


def read_export(file: Path, labels_per_sample: LabelsPerSample) -> list[Answer]:
    """The labels of an export, one for each annotation; of an annotation that is none its problem.

    Args:
        file: JSON or JSON-MIN.
        labels_per_sample: Of the project: with `many` an annotation without a choice is the empty set.

    Raises:
        DataError: It is no such file.
    """
    try:
        content = json.loads(file.read_bytes())
    except ValueError as error:  # not JSON, or not UTF-8
        raise _no_export(file, f"which does not read as JSON ({error})") from error
    if not isinstance(content, list) or not all(isinstance(item, dict) for item in content):
        raise _no_export(file, "which is no list of tasks")
    found: list[Answer] = []
    for number, item in enumerate(content, start=1):
        where = f"{file.name} task {number}"
        found += _of_task(item, where, labels_per_sample) if isinstance(item.get("data"), dict) else [_of_record(item, where)]
    return found


def _of_task(item: Mapping[str, Any], where: str, labels_per_sample: LabelsPerSample) -> list[Answer]:
    data = item["data"]
    name, sha256 = str(data.get("request_id") or ""), _stated_sha256(data)
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


def _of_record(item: Mapping[str, Any], where: str) -> Answer:
    """One record of JSON-MIN: the task's data and, under the control's name, one choice, several, or nothing."""
    given = item.get(_CONTROL)
    chosen = _texts(given.get("choices") if isinstance(given, dict) else given)
    # Of an empty annotation and of none at all JSON-MIN tells the same.
    problem = "" if chosen else "has no label"
    return Answer(where, str(item.get("request_id") or ""), SEPARATOR.join(chosen), _stated_sha256(item), problem)


def _texts(value: object) -> list[str]:
    return [value] if isinstance(value, str) and value else [str(one) for one in value] if isinstance(value, list) else []


def _stated_sha256(data: Mapping[str, Any]) -> str:
    """Of the image itself where it is in the file, else as the file says."""
    image = str(data.get(_OBJECT) or "")
    if image.startswith("data:") and ";base64," in image:
        try:
            return hashlib.sha256(base64.b64decode(image.split(";base64,", 1)[1], validate=True)).hexdigest()
        except binascii.Error:
            return "no base64"
    return str(data.get("sha256") or "")


def _no_export(file: Path, got: str) -> DataError:
    return DataError(
        got=f"{file.name}, {got}.",
        allowed="Label Studio's export as JSON or JSON-MIN, or the CSV file of `regraft labels next` with its labels.",
        next_step="export again in one of these formats; nothing was taken.",
    )
