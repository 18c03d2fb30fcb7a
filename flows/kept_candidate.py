"""A candidate that a run goes on with: where its stages' outputs lie in the store, and whether they are there still."""

from __future__ import annotations

from collections.abc import Mapping

from flows.learning import Candidate
from pipelines.core.bundle import read_manifest
from pipelines.core.errors import IntegrityError
from pipelines.store import StageOutput, is_complete
from pipelines.workspace import Workspace


def place_in_store(workspace: Workspace, output: StageOutput) -> str:
    """Relative to the store, with forward slashes."""
    return output.path.relative_to(workspace.store).as_posix()


def kept_output(workspace: Workspace, place: str) -> StageOutput:
    """The output at a place, whether or not it is there."""
    path = workspace.store / place
    return StageOutput(path.parent.name, path.name, path, cached=True, seconds=0.0)


def kept_candidate(workspace: Workspace, places: Mapping[str, str], bundle_id: str | None) -> Candidate | None:
    """The candidate from its stages' outputs; None where one of them is gone or is not as it was.

    Args:
        workspace: Whose store.
        places: By stage, of `place_in_store`.
        bundle_id: Of the bundle that it was.
    """
    outputs = {name: kept_output(workspace, place) for name, place in places.items()}
    if "package" not in outputs or not all(is_complete(output.path) for output in outputs.values()):
        return None
    bundle = outputs["package"].path / "bundle"
    try:
        found = read_manifest(bundle)[1]
    except IntegrityError:
        return None
    return Candidate(bundle, found, outputs) if found == bundle_id else None
