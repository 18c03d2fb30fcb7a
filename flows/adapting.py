"""A retraining that adapts to inputs without labels: takes a snapshot of them into the data, and says how the run learns from it.

The rest of the run is that of any other: stages, gates, a person's approval, registry. What it learnt from is found again by the
dataset version and the method in the bundle's lineage.
"""

from __future__ import annotations

import json

from flows.pending import read_pending
from flows.session import Session
from flows.snapshots import snapshot_unlabelled
from pipelines.config import AdaptationGate, AdaptMethod, ProjectConfig
from pipelines.core.errors import ConfigurationError

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
        method = session.config.adapting.model_copy(update={"unlabelled": _named_snapshot(session) or snapshot_unlabelled(session).name})
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


def _named_snapshot(session: Session) -> str | None:
    """The snapshot that the section `adaptation` names; nothing where it names none, and of a conf file whose own method is `adapt`.

    Raises:
        ConfigurationError: The data have no such snapshot.
        IntegrityError: Its table is not as it was made.
    """
    from pipelines.unlabelled import read_unlabelled

    config = session.config
    name = None if isinstance(config.method, AdaptMethod) else config.adaptation.unlabelled
    if name is not None:
        read_unlabelled(session.workspace.data, name, "adaptation.unlabelled")
    return name


def _method_of_waiting(session: Session, run: str) -> AdaptMethod | None:
    """Of the candidate that this run has shown a person, where it can still be read."""
    pending = read_pending(session.workspace, run)
    candidate = pending.candidate(session.workspace) if pending else None
    if candidate is None:
        return None
    lineage = json.loads((candidate.bundle / "lineage.json").read_bytes())
    return AdaptMethod.model_validate(lineage["config"]["method"])
