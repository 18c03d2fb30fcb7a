"""A retraining that adapts to inputs without labels: takes a snapshot of them into the data, and says how the run learns from it.

The rest of the run is that of any other: stages, gates, a person's approval, registry. What it learnt from is found again by the
dataset version and the method in the bundle's lineage.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from flows.ingestion import finished_later
from flows.pending import read_pending
from flows.session import Session
from pipelines.config import AdaptationGate, AdaptMethod, ProjectConfig
from pipelines.core.errors import ConfigurationError

if TYPE_CHECKING:
    from pipelines.unlabelled import RawInput, Snapshot

# The kind of a trigger.
ADAPT = "adapt"


def adapted_session(session: Session, run: str) -> Session:
    """The session under which a run adapts: the project's method as the source, and the gate that an adaptation must pass.

    Args:
        session: Of the workspace. A conf file whose own method is `adapt` says how; else its section `adaptation` does.
        run: Id of the flow run. One that waited for a person goes on with the snapshot of the candidate that the person saw.

    Raises:
        ConfigurationError: The way does not fit the project; nothing was committed.
        DataError: The endpoint has kept no input that could be used.
    """
    method = _method_of_waiting(session, run)
    if method is None:
        require_adaptable(session.config)
        method = _with_snapshot(session.config, snapshot_unlabelled(session).name)
    gates = session.config.gates
    if not any(isinstance(gate, AdaptationGate) for gate in gates):
        gates = (*gates, AdaptationGate())
    return Session(session.workspace, session.config.model_copy(update={"method": method, "gates": gates}))


def require_adaptable(config: ProjectConfig) -> None:
    """Refuses a project that cannot adapt as its conf file says.

    Raises:
        ConfigurationError: It cannot.
    """
    if problem := config.adaptation_problem():
        raise ConfigurationError(
            got=f"a retraining with --adapt, under a conf file by which it cannot run: {problem}.",
            allowed="a way that fits the project (section adaptation of the conf file, or method where that is adapt).",
            next_step="change the section adaptation; nothing was added to the data.",
        )


def snapshot_unlabelled(session: Session) -> Snapshot:
    """Adds the newest inputs that the endpoint has kept and nobody has labelled to the data, as a new dataset version.

    The same inputs make no new version. A run that is killed meanwhile leaves its mark, and the next one commits what it finds.

    Raises:
        DataError: There is none, or none that could be used.
    """
    from pipelines.known_content import KnownContent
    from pipelines.labels_table import held_by_task, read_labels_table
    from pipelines.unlabelled import add_snapshot
    from pipelines.versioning.dataset import commit_dataset

    workspace, config = session.workspace, session.config
    with finished_later(session):
        table = read_labels_table(workspace.data / config.data.labels_table, holds=held_by_task(config.task))
        known = KnownContent(workspace.data, table.rows)
        known.hash_files()
        n_most = _settings(config).n_newest
        snapshot = add_snapshot(workspace.data, unlabelled_inputs(session), known, n_most, workspace.state / "tmp" / "unlabelled")
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
            yield RawInput(serving / "raw" / sha256, domain or DEFAULT_DOMAIN, time[:10])


def _essentials(line: Mapping[str, Any]) -> tuple[str, str, str, str]:
    return str(line["request_id"]), str(line["time"]), str(line["raw_sha256"]), str(line["domain"])


def _settings(config: ProjectConfig) -> AdaptMethod:
    return config.method if isinstance(config.method, AdaptMethod) else config.adaptation


def _with_snapshot(config: ProjectConfig, name: str) -> AdaptMethod:
    if isinstance(config.method, AdaptMethod):
        return config.method.model_copy(update={"unlabelled": name})
    return config.adaptation.model_copy(update={"unlabelled": name, "source": config.method})


def _method_of_waiting(session: Session, run: str) -> AdaptMethod | None:
    """Of the candidate that this run has shown a person, where it can still be read."""
    pending = read_pending(session.workspace, run)
    candidate = pending.candidate(session.workspace) if pending else None
    if candidate is None:
        return None
    lineage = json.loads((candidate.bundle / "lineage.json").read_bytes())
    return AdaptMethod.model_validate(lineage["config"]["method"])
