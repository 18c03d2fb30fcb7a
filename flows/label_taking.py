"""Labels that come back: into the logs that ingestion reads, or into quarantine.

.regraft/serving/log/feedback/          labels of the random draw, as those of clients
.regraft/serving/log/picked/feedback/   labels of what was picked for being uncertain
.regraft/labels/quarantine-DIGEST.csv   labels that could not be taken, with reasons; corrected, it can be taken itself
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flows.labelling import LABELS, handed_out, one_at_a_time, texts_for_sheet
from flows.labelling_results import Taken
from flows.session import Session
from pipelines.core.errors import ConfigurationError
from pipelines.core.request_log import FEEDBACK, FeedbackRecord, log_time
from pipelines.label_queue import PICKED_LABELS, read_labels

if TYPE_CHECKING:
    from pipelines.label_answers import Answer
    from pipelines.label_tasks import LabelTask
    from pipelines.returned_labels import Returned, TakenLabel

_QUARANTINE = "quarantine"


def take_labels(session: Session, file: Path) -> Taken:
    """Takes labels back: all that are right become lines of a log that `regraft ingest` reads; the others go to a quarantine file.

    Labels of the random draw become feedback, by which the monitor judges the error rate, too. Those of uncertain inputs lie apart: they
    were picked for being hard, and would look like a model that fails.

    Args:
        session: Of the workspace.
        file: Label Studio's export as JSON or JSON-MIN, or CSV.

    Raises:
        ConfigurationError: There is no such file.
        DataError: It is none of these formats, or one of other inputs than the project's; nothing was taken.
    """
    with one_at_a_time(session):
        return _taken_now(session, file)


def _taken_now(session: Session, file: Path) -> Taken:
    from pipelines.returned_labels import check_returned, known_labels

    tasks, log = handed_out(session), session.workspace.serving / "log"
    known = known_labels(read_labels(log), tasks, session.config)
    returned = check_returned(_answers(session, file), tasks, known, session.workspace.serving / "raw", session.config)
    for folder, picked_by in ((log, "random"), (log / PICKED_LABELS, "uncertain")):
        _write_labels(session, folder, [label for label in returned.taken if label.task.picked_by == picked_by])
    quarantine = _write_quarantine(session, returned, file)
    known |= {label.task.request_id: label.label for label in returned.taken}
    return Taken(returned, quarantine, *_random_draw(session, tasks, known))


def _random_draw(session: Session, tasks: Mapping[str, LabelTask], known: Mapping[str, str]) -> tuple[int, int, int]:
    """Of the model that answered last: right answers, labels, and inputs without a label.

    Counted by content, as the queue is: an input that was handed out again under a newer request counts once, as it was handed out last.
    """
    from pipelines.label_rows import read_label

    drawn = [task for task in tasks.values() if task.picked_by == "random"]
    latest = {task.sha256: task for task in drawn}
    labels = {task.sha256: known[task.request_id] for task in drawn if task.request_id in known}
    of_last = [task for task in latest.values() if task.model == drawn[-1].model]
    labelled = [task for task in of_last if task.sha256 in labels]
    config = session.config
    n_right = sum(labels[task.sha256] == read_label(task.predicted, config.labels, config.labels_per_sample)[0] for task in labelled)
    return n_right, len(labelled), len(of_last) - len(labelled)


def _answers(session: Session, file: Path) -> list[Answer]:
    from pipelines.label_sheet import read_sheet
    from pipelines.label_studio import read_export

    if not file.is_file():
        raise ConfigurationError(
            got=f"no file at {file}.",
            allowed="Label Studio's export (JSON or JSON-MIN), or the CSV file of `regraft labels next` with its labels.",
            next_step="name the file.",
        )
    if file.suffix.lower() == ".json":
        return read_export(file, session.config.labels_per_sample, session.config.task)
    return read_sheet(file, session.config.labels, session.config.labels_per_sample)


def _write_labels(session: Session, log: Path, labels: Sequence[TakenLabel]) -> None:
    from pipelines.staging import replace_file

    if not labels:
        return
    now = log_time()
    lines = [FeedbackRecord(request_id=label.task.request_id, label=label.label, time=now).model_dump_json() for label in labels]
    content = "".join(f"{line}\n" for line in lines).encode()
    # A file of its own: the endpoint is writing to the day's.
    name = f"{now[:10]}-labels-{hashlib.sha256(content).hexdigest()[:12]}.jsonl"
    replace_file(log / FEEDBACK / name, content, session.workspace.state / "tmp" / "labels")


def _write_quarantine(session: Session, returned: Returned, file: Path) -> Path | None:
    from pipelines.label_sheet import as_sheet
    from pipelines.staging import replace_file

    folder, target = session.workspace.state / LABELS, None
    if returned.refused:
        texts = texts_for_sheet(session, [line.task for line in returned.refused if line.task is not None])
        content = as_sheet(returned.refused, with_reasons=True, texts=texts)
        target = folder / f"{_QUARANTINE}-{hashlib.sha256(content).hexdigest()[:12]}.csv"
        replace_file(target, content, session.workspace.state / "tmp" / "labels")
    is_quarantine = file.resolve().parent == folder.resolve() and file.name.startswith(f"{_QUARANTINE}-")
    if is_quarantine and (target is None or file.resolve() != target.resolve()):
        file.unlink()  # what is left of it is in the new one
    return target
