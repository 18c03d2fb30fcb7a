"""Inputs without labels become a part of the data: those that the endpoint has kept, or those of a folder or a table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.ingestion import finished_later
from flows.session import Session
from pipelines.core.errors import ConfigurationError, DataError
from pipelines.progress import Progress, silent

if TYPE_CHECKING:
    from pipelines.unlabelled import RawInput, Snapshot


def snapshot_unlabelled(session: Session) -> Snapshot:
    """Adds the newest inputs that the endpoint has kept and nobody has labelled to the data, as a new dataset version.

    The same inputs make no new version. A run that is killed meanwhile leaves its mark, and the next one commits what it finds.

    Raises:
        DataError: There is none, or none that could be used.
    """
    return _committed_snapshot(session, unlabelled_inputs(session), session.config.adapting.n_newest)


def snapshot_source(session: Session, source: Path, domain: str, progress: Progress = silent) -> Snapshot:
    """Adds inputs of a folder or a table to the data as a snapshot, as a new dataset version; the same inputs make no new one.

    Of more than `adaptation.n_newest` as many are drawn at random, by the conf file's seed.

    Args:
        session: Of the workspace.
        source: See `pipelines.input_source`; labels in it are not looked at.
        domain: Where the inputs come from: test samples of that domain judge what is adapted to them.
        progress: Told the inputs looked at, of all.

    Raises:
        ConfigurationError: There is nothing at `source`, or the domain is blank.
        DataError: It names no input, or none that could be used.
    """
    import numpy as np

    from pipelines.input_source import find_inputs
    from pipelines.unlabelled import RawInput

    if not domain.strip():
        raise ConfigurationError(
            got=f"--domain {domain!r}.",
            allowed="a name: what is adapted to these inputs is judged by labelled test samples of the same domain.",
            next_step="name where the inputs come from, as the column domain of the labels table does or will.",
        )
    found = find_inputs(source, session.config.task)
    order = np.random.default_rng(session.config.seed).permutation(len(found.inputs))
    drawn = (found.inputs[place] for place in order)
    inputs = (RawInput(found.root, one.path, domain, "", text=one.text, problem=one.problem) for one in drawn)
    return _committed_snapshot(session, _told(inputs, len(order), progress), session.config.adapting.n_newest)


def _told(inputs: Iterable[RawInput], n_inputs: int, progress: Progress) -> Iterator[RawInput]:
    for done, one in enumerate(inputs, start=1):
        yield one
        progress("reading inputs", done, n_inputs)


def count_judging_samples(session: Session, snapshot: Snapshot, progress: Progress = silent) -> int | None:
    """Labelled test samples by which an adaptation to a snapshot would be judged; nothing where the data cannot be split as they are."""
    from pipelines.dataset import read_samples
    from pipelines.plain_training import target_samples
    from pipelines.stages import Stages
    from pipelines.versioning.dataset import dataset_version

    # The next retraining goes on from what these stages write.
    stages = Stages(session.workspace, session.config, progress)
    try:
        split = stages.split(stages.manifest(dataset_version(session.workspace.root).digest))
    except DataError:
        return None
    return len(target_samples(read_samples(split.path / "samples.csv"), snapshot.samples))


def _committed_snapshot(session: Session, inputs: Iterable[RawInput], n_most: int) -> Snapshot:
    from pipelines.ingest import known_content
    from pipelines.known_content import KnownContent
    from pipelines.labels_table import held_by_task, read_labels_table
    from pipelines.unlabelled import add_snapshot
    from pipelines.versioning.dataset import commit_dataset

    workspace, config = session.workspace, session.config
    with finished_later(session):
        table = read_labels_table(workspace.data / config.data.labels_table, holds=held_by_task(config.task))
        known = known_content(workspace.data, table.rows, config)
        if isinstance(known, KnownContent):
            known.hash_files()
        snapshot = add_snapshot(workspace.data, inputs, known, n_most, workspace.state / "tmp" / "unlabelled", config.task)
        commit_dataset(workspace.root, f"{len(snapshot.samples)} unlabelled inputs, {snapshot.name}")
    return snapshot


def unlabelled_inputs(session: Session) -> Iterator[RawInput]:
    """Inputs that the endpoint has kept, the newest first, without those that somebody has labelled: they may be test samples tomorrow."""
    from pipelines.core.request_log import read_requests
    from pipelines.dataset import DEFAULT_DOMAIN
    from pipelines.label_queue import read_labels
    from pipelines.unlabelled import RawInput

    serving = session.workspace.serving
    labelled = {str(line["request_id"]) for line in read_labels(serving / "log")}
    # Of a log of millions of lines only those few are held that have an input.
    kept = [_essentials(line) for line in read_requests(serving / "log") if line["raw_sha256"]]
    also_labelled = {sha256 for request, _, sha256, _ in kept if request in labelled}
    for _, time, sha256, domain in sorted(kept, key=lambda row: row[1], reverse=True):
        if sha256 not in also_labelled:
            yield RawInput(serving / "raw", sha256, domain or DEFAULT_DOMAIN, time[:10], sha256=sha256)


def _essentials(line: Mapping[str, Any]) -> tuple[str, str, str, str]:
    return str(line["request_id"]), str(line["time"]), str(line["raw_sha256"]), str(line["domain"])


def as_json(snapshot: Snapshot, n_judging: int | None = None) -> dict[str, Any]:
    """A snapshot for machines, with the labelled test samples of its domain."""
    left_out = {"known": snapshot.n_known, "unusable": snapshot.n_unusable, "not_drawn": snapshot.n_not_drawn}
    counts = {"n_found": snapshot.n_found, "n_samples": len(snapshot.samples), "n_judging": n_judging}
    return {"snapshot": snapshot.name, **counts, "left_out": left_out}


def as_text(snapshot: Snapshot, n_judging: int | None = None) -> str:
    """A snapshot for people, with what to do next."""
    return (
        f"snapshot {snapshot.name}: {len(snapshot.samples)} of {snapshot.n_found} inputs, without labels; left out were {snapshot.n_known}"
        f" that the labelled data have already, {snapshot.n_unusable} that cannot be used, and {snapshot.n_not_drawn} that were not drawn"
        f" (adaptation.n_newest)\n{_judged_by(snapshot, n_judging)}"
        f"adapt to it: regraft retrain --adapt --set \"adaptation.unlabelled='{snapshot.name}'\""
    )


def _judged_by(snapshot: Snapshot, n_judging: int | None) -> str:
    domains = ", ".join(sorted({sample.domain for sample in snapshot.samples}))
    if n_judging is None:
        return ""
    if n_judging:
        return f"an adaptation to it is judged by {n_judging} labelled test samples of {domains}\n"
    return (
        f"warning: no labelled test sample judges an adaptation to {domains}, which would be refused: ingest some of that domain, of one"
        " that no training sample has\n"
    )
