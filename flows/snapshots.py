"""Inputs without labels become a part of the data: those that the endpoint has kept, or those of a folder or a table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.ingestion import finished_later
from flows.session import Session

if TYPE_CHECKING:
    from pipelines.unlabelled import RawInput, Snapshot


def snapshot_unlabelled(session: Session) -> Snapshot:
    """Adds the newest inputs that the endpoint has kept and nobody has labelled to the data, as a new dataset version.

    The same inputs make no new version. A run that is killed meanwhile leaves its mark, and the next one commits what it finds.

    Raises:
        DataError: There is none, or none that could be used.
    """
    return _committed_snapshot(session, unlabelled_inputs(session), session.config.adapting.n_newest)


def snapshot_source(session: Session, source: Path, domain: str) -> Snapshot:
    """Adds inputs of a folder or a table to the data as a snapshot, as a new dataset version; the same inputs make no new one.

    Of more than `adaptation.n_newest` as many are drawn at random, by the conf file's seed.

    Args:
        session: Of the workspace.
        source: See `pipelines.input_source`; labels in it are not looked at.
        domain: Where the inputs come from: test samples of that domain judge what is adapted to them.

    Raises:
        ConfigurationError: There is nothing at `source`.
        DataError: It names no input, or none that could be used.
    """
    import numpy as np

    from pipelines.input_source import find_inputs
    from pipelines.unlabelled import RawInput

    found = find_inputs(source, session.config.task)
    order = np.random.default_rng(session.config.seed).permutation(len(found.inputs))
    chosen = (found.inputs[place] for place in order if not found.inputs[place].problem)
    inputs = (RawInput(found.root, one.path, domain, "", text=one.text) for one in chosen)
    return _committed_snapshot(session, inputs, session.config.adapting.n_newest)


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


def as_json(snapshot: Snapshot) -> dict[str, Any]:
    """A snapshot for machines."""
    left_out = {"known": snapshot.n_known, "unusable": snapshot.n_unusable}
    return {"snapshot": snapshot.name, "n_samples": len(snapshot.samples), "left_out": left_out}


def as_text(snapshot: Snapshot) -> str:
    """A snapshot for people, with what to do next."""
    return (
        f"snapshot {snapshot.name}: {len(snapshot.samples)} inputs without labels; left out were {snapshot.n_known} that the labelled data"
        f" have already, and {snapshot.n_unusable} that cannot be used\n"
        f"adapt to it: regraft retrain --adapt --set \"adaptation.unlabelled='{snapshot.name}'\""
    )
