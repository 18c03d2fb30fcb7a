"""What production serves: promotion and rollback in the registry, then the pointer that a running endpoint follows.

The registry's tag is the truth. The pointer is made from it; every run of both flows first repairs what a crash between the two left.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from flows.session import Session
from pipelines.core.errors import ConfigurationError, IntegrityError
from pipelines.versioning.registry import WHOEVER_IS

if TYPE_CHECKING:
    from pipelines.versioning.registry import ChampionRecord


def promote_version(
    session: Session, version: str, why: str, evidence: Mapping[str, JsonValue] | None = None, judged_against: str | None = WHOEVER_IS
) -> ChampionRecord:
    """Makes a registered version the champion.

    Args:
        session: Of the workspace.
        version: For example `v0.0.2`.
        why: Kept in the registry.
        evidence: Kept in the registry.
        judged_against: The champion that the gates compared with; by default whoever is champion now.

    Raises:
        ConfigurationError: There is no such version.
        ConflictError: Another promotion won.
    """
    from pipelines.versioning import registry

    registry.promote(session.workspace.root, session.config.project, version, why, evidence or {}, judged_against=judged_against)
    return point_to_champion(session)


def roll_back(session: Session, to: str | None, why: str) -> ChampionRecord:
    """Makes an earlier version the champion again; the one before this where `to` is None."""
    from pipelines.versioning import registry

    registry.rollback(session.workspace.root, session.config.project, why, to)
    return point_to_champion(session)


def point_to_champion(session: Session) -> ChampionRecord:
    """Fetches the champion's bundle and points the endpoint to it.

    Raises:
        ConfigurationError: There is no champion yet.
        IntegrityError: Its bundle cannot be read.
    """
    from pipelines.versioning import registry
    from serving.pointer import write_pointer

    workspace = session.workspace
    pointed: ChampionRecord | None = None
    while True:
        record = registry.champion(workspace.root, session.config.project)
        if record is None:
            raise ConfigurationError(
                got=f"the workspace {workspace.root.name}, which has no champion.",
                allowed="a workspace with a promoted model.",
                next_step="run `regraft retrain`, or `regraft promote VERSION --why ...` for a registered one.",
            )
        if pointed is not None and pointed.tag == record.tag:
            return record
        # Another promotion or rollback may come between reading and writing; the one that looks last leaves the truth.
        write_pointer(pointer_path(session), record.bundle_id, champion_bundle(session, record))
        pointed = record


def repair_pointer(session: Session) -> None:
    """Points the endpoint to the champion where a crash came between the tag and the pointer.

    A first run has nothing to point to, and a champion that cannot be read is for the gates to refuse.
    """
    from pipelines.versioning import registry

    if registry.champion(session.workspace.root, session.config.project) is not None:
        with contextlib.suppress(IntegrityError):
            point_to_champion(session)


def champion_bundle(session: Session, record: ChampionRecord) -> Path:
    """A verified copy of the champion's bundle, fetched where it is not there yet."""
    from pipelines.versioning import registry

    return registry.fetch_bundle(session.workspace.root, session.config.project, record.version, session.workspace.serving / "bundles")


def pointer_path(session: Session) -> Path:
    """The file that a running endpoint follows."""
    return session.workspace.serving / "champion.json"
