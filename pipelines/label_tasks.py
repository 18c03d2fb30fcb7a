"""What is handed out to be labelled: the inputs picked from the queue, with a file for each, and a record of what was handed out.

FOLDER/images/NAME.png     the raw inputs, named by their content, with the ending that fits; texts/NAME.txt, sounds/NAME.wav
FOLDER/handed_out.json     the tasks; labels that come back are checked against it
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from pipelines.core.errors import DataError, IntegrityError
from pipelines.core.label_sets import LabelsPerSample
from pipelines.core.request_log import PredictionId
from pipelines.input_files import Unusable
from pipelines.label_choice import choose
from pipelines.label_objects import LABEL_OBJECTS, shown_text
from pipelines.label_queue import LabelQueue, Waiting
from pipelines.modalities.inspection import INPUTS, extension_of
from pipelines.text_rows import text_bytes

HANDED_OUT = "handed_out.json"
PickedBy = Literal["random", "uncertain"]
_N_NAME_DIGITS = 32


@dataclass(frozen=True)
class Pick:
    """One input of the queue, and why it was picked."""

    waiting: Waiting
    picked_by: PickedBy


class LabelTask(BaseModel):
    """One input that was handed out.

    Attributes:
        request_id: Of the request that its label belongs to.
        sha256: Of its bytes.
        path: Relative to the folder that it was handed out in.
        predicted: The model's answer, a label or the text of a set.
        confidence: Of that answer, in [0, 1]; of a set that of its least certain label.
        picked_by: `random` tasks are a uniform sample of the inputs that no client has labelled; the others were uncertain.
        model: Id of the bundle that answered.
        shown_sha256: Of a text as people see it, where that is not as its bytes have it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    request_id: PredictionId
    sha256: str
    path: str
    predicted: str
    confidence: float
    picked_by: PickedBy
    model: str
    shown_sha256: str = ""


def pick(queue: LabelQueue, budget: int, random_frac: float, labels_per_sample: LabelsPerSample, seed: int) -> list[Pick]:
    """Spends a budget: a share of it on the random draw, the rest on what is uncertain and different.

    Args:
        queue: What waits.
        budget: At most so many are picked.
        random_frac: Share of the budget for the random draw, in [0, 1]; more where the rest of the queue does not fill the budget.
        labels_per_sample: Of the project.
        seed: The same queue and seed give the same picks.
    """
    uncertain = _of_one_size(queue.uncertain)
    n_drawn = min(max(round(budget * random_frac), budget - len(uncertain)), len(queue.drawn))
    places: list[int] = []
    if uncertain and budget > n_drawn:
        probabilities = np.stack([waiting.probabilities for waiting in uncertain])
        embeddings = np.stack([waiting.embedding for waiting in uncertain])
        places = choose(probabilities, embeddings, budget - n_drawn, labels_per_sample, np.random.default_rng(seed)).tolist()
    return [*(Pick(waiting, "random") for waiting in queue.drawn[:n_drawn]), *(Pick(uncertain[place], "uncertain") for place in places)]


def _of_one_size(waiting: Sequence[Waiting]) -> list[Waiting]:
    """Those with the embedding's size of the newest one, and finite numbers: a line that a crash tore could still parse."""
    if not waiting:
        return []
    size = max(waiting, key=lambda one: one.time).embedding.shape
    return [one for one in waiting if one.embedding.shape == size and np.isfinite(one.embedding).all()]


def write_tasks(
    picks: Iterable[Pick], raw_dir: Path, folder: Path, labels_per_sample: LabelsPerSample, kind: str = "image"
) -> tuple[list[LabelTask], int]:
    """Copies the raw inputs into `folder` and records what is handed out.

    Args:
        picks: In the order in which they are to be labelled.
        raw_dir: Of the raw inputs.
        folder: Empty.
        labels_per_sample: Of the project.
        kind: Its task: what inputs are.

    Returns:
        The tasks, and how many inputs were left out because their bytes are gone, changed, or no input of that kind.
    """
    (folder / INPUTS[kind].folder).mkdir()
    tasks: list[LabelTask] = []
    n_left_out = 0
    for one in picks:
        path = _copied(one.waiting.raw_sha256, raw_dir, folder, kind)
        if path is None:
            n_left_out += 1
            continue
        tasks.append(_task(one, path, labels_per_sample, _shown_sha256(folder / path, kind)))
    content = json.dumps([task.model_dump(exclude_defaults=True) for task in tasks], indent=1, ensure_ascii=False)
    (folder / HANDED_OUT).write_text(content, encoding="utf-8")
    return tasks, n_left_out


def _copied(sha256: str, raw_dir: Path, folder: Path, kind: str) -> str | None:
    try:
        content = (raw_dir / sha256).read_bytes()
    except OSError:
        return None
    found = INPUTS[kind].inspect(content)
    if isinstance(found, Unusable) or found.id != sha256:
        return None
    path = f"{INPUTS[kind].folder}/{sha256[:_N_NAME_DIGITS]}{extension_of(found)}"
    (folder / path).write_bytes(content)
    return path


def _shown_sha256(file: Path, kind: str) -> str:
    """Of a text as it is shown; empty where its bytes are shown."""
    if not LABEL_OBJECTS[kind].is_text:
        return ""
    content = file.read_bytes()
    shown = text_bytes(shown_text(content))
    return "" if shown == content else hashlib.sha256(shown).hexdigest()


def _task(one: Pick, path: str, labels_per_sample: LabelsPerSample, shown_sha256: str) -> LabelTask:
    waiting = one.waiting
    chances = waiting.probabilities
    sure = float(chances.max()) if labels_per_sample == "one" else float(np.maximum(chances, 1 - chances).min())
    return LabelTask(
        request_id=waiting.request_id,
        sha256=waiting.raw_sha256,
        path=path,
        predicted=waiting.label,
        confidence=round(min(max(sure, 0.0), 1.0), 4),
        picked_by=one.picked_by,
        model=waiting.bundle,
        shown_sha256=shown_sha256,
    )


def shown_texts(tasks: Iterable[LabelTask], raw_dir: Path) -> dict[str, str]:
    """The texts of tasks as people see them, by the sha256 of their bytes; without those that are gone."""
    found: dict[str, str] = {}
    for task in tasks:
        try:
            found[task.sha256] = shown_text((raw_dir / task.sha256).read_bytes())
        except (OSError, DataError):
            continue
    return found


def read_tasks(folders: Iterable[Path]) -> dict[str, LabelTask]:
    """All tasks that were handed out, by request id, in that order; of one that was handed out twice the later.

    Args:
        folders: In the order in which they were handed out.

    Raises:
        IntegrityError: A record cannot be read.
    """
    found: dict[str, LabelTask] = {}
    for folder in folders:
        try:
            tasks = TypeAdapter(list[LabelTask]).validate_json((folder / HANDED_OUT).read_bytes())
        except (OSError, ValidationError) as error:
            raise IntegrityError(
                got=f"{folder.name}/{HANDED_OUT}, which cannot be read ({type(error).__name__}).",
                allowed="the record that `regraft labels next` wrote.",
                next_step="remove that folder; its inputs wait again, and are handed out anew.",
            ) from error
        for task in tasks:
            found.pop(task.request_id, None)  # else it would keep the place of the first time
            found[task.request_id] = task
    return found
