"""Labels that come back: each is checked before one is taken, and what cannot be taken is named with its reason."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipelines.config import ProjectConfig
from pipelines.label_answers import Answer
from pipelines.label_rows import read_label
from pipelines.label_sheet import NO_MEMBER, Line
from pipelines.label_tasks import LabelTask

_OF_TWO_INPUTS = "stands there with the bytes of two inputs"


@dataclass(frozen=True)
class TakenLabel:
    """A label that can be taken, in its one form."""

    task: LabelTask
    label: str


@dataclass(frozen=True)
class Returned:
    """What became of a file of labels; each of its lines is in one of the counts.

    Attributes:
        taken: New labels, in the order of the file, each input once.
        n_known: Inputs that have this label already.
        n_repeated: Further lines that say the same of an input.
        refused: The inputs without a label to take, with reasons.
    """

    taken: tuple[TakenLabel, ...]
    n_known: int
    n_repeated: int
    refused: tuple[Line, ...]


def check_returned(
    answers: Sequence[Answer], tasks: Mapping[str, LabelTask], known: Mapping[str, str], raw_dir: Path, config: ProjectConfig
) -> Returned:
    """Checks all labels of a file.

    Args:
        answers: As the file gives them.
        tasks: All that was ever handed out, by request id.
        known: Labels that requests have already, in their one form.
        raw_dir: Of the raw inputs.
        config: Its `labels` and `labels_per_sample` are used.
    """
    by_input: dict[str, list[Answer]] = {}
    for number, answer in enumerate(answers):
        # Lines that name no input have nothing in common.
        by_input.setdefault(answer.request_id or f"line {number}", []).append(answer)
    taken: list[TakenLabel] = []
    refused: list[Line] = []
    n_known = n_repeated = 0
    for name, given in by_input.items():
        n_repeated += len(given) - 1
        task = tasks.get(name)
        answer = _agreed(given, config)
        problem = answer.problem or _problem(answer, task, known.get(name), raw_dir)
        if problem or task is None:
            is_empty_set = _is_empty_set(answer, config)
            refused.append(Line(task, answer.request_id, answer.label, f"{answer.where}: {problem}", is_empty_set=is_empty_set))
        elif name in known:
            n_known += 1
        else:
            taken.append(TakenLabel(task, answer.label))
    return Returned(tuple(taken), n_known, n_repeated, tuple(refused))


def _is_empty_set(answer: Answer, config: ProjectConfig) -> bool:
    """Whether a person said that it has no label, which a sheet can write only where its sign is none of the labels."""
    is_said = not answer.label and answer.problem in ("", _OF_TWO_INPUTS)
    return is_said and config.labels_per_sample == "many" and NO_MEMBER not in config.labels


def _agreed(given: Sequence[Answer], config: ProjectConfig) -> Answer:
    """What the lines on one input say together; a line without a label says nothing beside one with a label."""
    labelled = [_in_one_form(answer, config) for answer in given if not answer.problem]
    if not labelled:
        return given[0]
    labels = dict.fromkeys(answer.label for answer in labelled)
    if len(labels) > 1:
        return replace(labelled[0], label="", problem=f"people disagree: {', '.join(map(repr, labels))}")
    differing = next((answer for answer in labelled if answer.sha256 != labelled[0].sha256), None)
    return replace(differing, problem=_OF_TWO_INPUTS) if differing else labelled[0]


def _in_one_form(answer: Answer, config: ProjectConfig) -> Answer:
    label, problem = read_label(answer.label, config.labels, config.labels_per_sample)
    return replace(answer, label=label, problem=problem)


def _problem(answer: Answer, task: LabelTask | None, known: str | None, raw_dir: Path) -> str:
    if not answer.request_id:
        return "names no input (request_id, or id in a CSV file)"
    if task is None:
        return f"no input with the id {answer.request_id!r} was handed out"
    if answer.sha256 not in ("", task.sha256, task.shown_sha256):
        return "its bytes are not those that were handed out"
    if known is not None and known != answer.label:
        return f"labelled {answer.label!r}, but it has the label {known!r} already (`regraft data relabel` corrects labels)"
    return "" if known is not None else _bytes_problem(raw_dir / task.sha256, task.sha256)


def _bytes_problem(file: Path, sha256: str) -> str:
    try:
        content = file.read_bytes()
    except OSError as error:
        return f"its raw bytes are gone ({error.strerror})"
    return "" if hashlib.sha256(content).hexdigest() == sha256 else "its raw bytes are not those that were handed out"


def known_labels(feedback: Iterable[Mapping[str, str]], wanted: Collection[str], config: ProjectConfig) -> dict[str, str]:
    """The label of each request that has one, in its one form, the latest line's.

    Args:
        feedback: Lines of feedback logs.
        wanted: Requests that matter.
        config: Its `labels` and `labels_per_sample` are used.
    """
    ordered = sorted((line for line in feedback if line["request_id"] in wanted), key=lambda line: line["time"])
    return {line["request_id"]: read_label(line["label"], config.labels, config.labels_per_sample)[0] for line in ordered}
