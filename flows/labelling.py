"""What to label next: out of the request log, and to people.

.regraft/labels/NAME/   what was handed out: tasks.csv, tasks.json (Label Studio), config.xml, handed_out.json, and a folder with the inputs
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from flows.labelling_results import HandedOut
from flows.promotion import champion_bundle
from flows.session import Session
from pipelines.core.errors import ConfigurationError
from pipelines.exclusive import exclusive
from pipelines.label_queue import (
    LabelQueue,
    QueueRule,
    label_queue_size,
    labelled_requests,
    read_queue,
)
from pipelines.short_names import short_name

if TYPE_CHECKING:
    from pipelines.label_studio import Links
    from pipelines.label_tasks import LabelTask

RANDOM_FRAC = 0.2
_POOL_PER_LABEL, _SMALLEST_POOL = 20, 2_000
LABELS = "labels"


def queue_size(session: Session) -> int:
    """How many distinct inputs wait for a label."""
    return label_queue_size(session.workspace.serving / "log", session.workspace.serving / "raw")


def next_labels(
    session: Session,
    budget: int,
    random_frac: float = RANDOM_FRAC,
    seed: int = 0,
    links: Links = "local-files",
    *,
    again: bool = False,
) -> HandedOut:
    """Hands out what to label next.

    Args:
        session: Of the workspace.
        budget: At most so many inputs.
        random_frac: Share of the budget that is drawn at random, in [0, 1].
        seed: The same log and seed give the same inputs.
        links: How Label Studio's tasks name images and sounds; texts are in them.
        again: Also what was handed out before and has no label yet.

    Raises:
        ConfigurationError: There is no champion whose answers could be compared.
    """
    with one_at_a_time(session):
        return _handed_out_now(session, budget, random_frac, seed, links, again=again)


def _handed_out_now(session: Session, budget: int, random_frac: float, seed: int, links: Links, *, again: bool) -> HandedOut:
    from pipelines.label_tasks import pick, write_tasks
    from pipelines.staging import staged_folder

    labelled = labelled_requests(session.workspace.serving / "log")
    before = handed_out(session).values()
    # By content, as the queue is: after `again` one input has several requests, of which a single one gets the label.
    out = {task.sha256 for task in before} - {task.sha256 for task in before if short_name(task.request_id) in labelled}
    queue = _read(session, budget, set() if again else out)
    picks = pick(queue, budget, random_frac, session.config.labels_per_sample, seed)
    if not picks:
        return HandedOut(None, 0, 0, 0, len(out), queue.n_waiting, queue.n_of_bundle)
    names = hashlib.sha256("".join(one.waiting.request_id for one in picks).encode()).hexdigest()
    folder = session.workspace.state / LABELS / f"{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}-{names[:8]}"
    config = session.config
    with staged_folder(folder) as staging:
        tasks, n_left_out = write_tasks(picks, session.workspace.serving / "raw", staging, config.labels_per_sample, config.task)
        _write_exports(session, tasks, staging, links)
    n_random = sum(task.picked_by == "random" for task in tasks)
    return HandedOut(folder, n_random, len(tasks) - n_random, n_left_out, len(out), queue.n_waiting, queue.n_of_bundle)


def labels_config(session: Session) -> str:
    """Label Studio's labelling interface for the project's labels."""
    from pipelines.label_studio import labelling_config

    return labelling_config(session.config.labels, session.config.labels_per_sample, session.config.task)


def _read(session: Session, budget: int, left_out: set[str]) -> LabelQueue:
    from pipelines.core.bundle import read_manifest
    from pipelines.versioning.registry import champion

    workspace, config = session.workspace, session.config
    record = champion(workspace.root, config.project)
    if record is None:
        raise ConfigurationError(
            got=f"a project {config.project} without a champion.",
            allowed="a model in production, by whose answers is known what is uncertain.",
            next_step="train and promote one with `regraft retrain`.",
        )
    labels = read_manifest(champion_bundle(session, record))[0].labels
    pool = max(_POOL_PER_LABEL * budget, _SMALLEST_POOL)
    rule = QueueRule(record.bundle_id, len(labels), config.labels_per_sample, n_drawn=2 * budget, n_uncertain=pool)
    return read_queue(workspace.serving / "log", workspace.serving / "raw", rule, left_out | _in_data(session))


def _in_data(session: Session) -> set[str]:
    """sha256 of the raw inputs whose bytes are in the data already."""
    from pipelines.ingest import known_content
    from pipelines.known_content import KnownContent, file_size
    from pipelines.labels_table import held_by_task, read_labels_table

    config, data, raw = session.config, session.workspace.data, session.workspace.serving / "raw"
    table = read_labels_table(data / config.data.labels_table, holds=held_by_task(config.task), name=config.data.labels_table)
    known = known_content(data, table.rows, config)
    sizes = {file.name: size for file in raw.glob("*") if (size := file_size(file)) is not None}
    if isinstance(known, KnownContent):
        known.hash_files(set(sizes.values()))
    return {name for name in sizes if known.labels_of_bytes(name)}


def _write_exports(session: Session, tasks: Sequence[LabelTask], folder: Path, links: Links) -> None:
    from pipelines.label_sheet import Line, as_sheet
    from pipelines.label_studio import as_tasks

    content = as_tasks(tasks, folder, links, session.config.labels_per_sample, session.config.task)
    (folder / "tasks.json").write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")
    (folder / "tasks.csv").write_bytes(as_sheet((Line(task, task.request_id) for task in tasks), texts=texts_for_sheet(session, tasks)))
    (folder / "config.xml").write_text(labels_config(session), encoding="utf-8")


def texts_for_sheet(session: Session, tasks: Iterable[LabelTask]) -> dict[str, str] | None:
    """The texts that a sheet shows, by the sha256 of their bytes; None where inputs are files."""
    from pipelines.label_objects import LABEL_OBJECTS
    from pipelines.label_tasks import shown_texts

    return shown_texts(tasks, session.workspace.serving / "raw") if LABEL_OBJECTS[session.config.task].is_text else None


def one_at_a_time(session: Session) -> AbstractContextManager[None]:
    """Waits for whoever else hands out or takes."""
    # Not the lock of retrainings: people hand in labels while one runs.
    return exclusive(session.workspace.state / "labels.lock")


def handed_out(session: Session) -> dict[str, LabelTask]:
    """All that was ever handed out, by request id."""
    from pipelines.label_tasks import HANDED_OUT, read_tasks

    return read_tasks(file.parent for file in sorted((session.workspace.state / LABELS).glob(f"*/{HANDED_OUT}")))
