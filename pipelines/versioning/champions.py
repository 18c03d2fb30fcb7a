"""Who is champion, who was, and why: read from tags, without importing DVC or GTO."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import JsonValue

from pipelines.core.errors import ConfigurationError, IntegrityError
from pipelines.versioning.model_versions import ModelVersion, read_versions
from pipelines.versioning.tags import STAGE, RegistryTag, read_tags

ChangeKind = Literal["promote", "rollback", "by hand"]


@dataclass(frozen=True)
class ChampionRecord:
    """One change of champion.

    Attributes:
        project: Name of the model.
        version: That became champion.
        bundle_id: Of its bundle.
        dataset_digest: Of the data at its commit.
        commit: With its records.
        promoted_at: UTC, to the second.
        promoted_by: `Name <email>`.
        kind: `by hand` for a tag that was made with `gto assign`.
        why: In words.
        evidence: What the decision was made on.
        tag: The tag that says all this.
    """

    project: str
    version: str
    bundle_id: str
    dataset_digest: str
    commit: str
    promoted_at: datetime.datetime
    promoted_by: str
    kind: ChangeKind
    why: str
    evidence: Mapping[str, JsonValue]
    tag: str


def champion(root: Path, project: str) -> ChampionRecord | None:
    """The champion of now; None before the first promotion.

    Raises:
        IntegrityError: There is one, but git cannot say which bundle it is, or GTO and DVC would disagree about it; names it.
    """
    return _champion_among(root, read_tags(root, project))


def champion_at(root: Path, project: str, when: datetime.datetime) -> ChampionRecord | None:
    """Who was champion at a moment; None before the first promotion.

    Args:
        root: The workspace.
        project: Name of the model.
        when: With a time zone.

    Raises:
        ConfigurationError: `when` has no time zone.
        IntegrityError: As `champion`.
    """
    if when.tzinfo is None:
        raise ConfigurationError(
            got=f"the time {when.isoformat()} without a time zone.",
            allowed="for example 2026-03-01T12:00:00+00:00.",
            next_step="add the time zone.",
        )
    return _champion_among(root, [tag for tag in read_tags(root, project) if tag.made_at <= when])


def history(root: Path, project: str) -> list[ChampionRecord]:
    """All changes of champion, oldest first.

    Raises:
        IntegrityError: As `champion`, for any of them.
    """
    tags = read_tags(root, project)
    return _records(root, tags, assignments(tags))


def assignments(tags: Sequence[RegistryTag]) -> list[RegistryTag]:
    """The changes of champion among tags."""
    return [tag for tag in tags if tag.name.action == "assign" and tag.name.stage == STAGE]


def latest_assignment(tags: Sequence[RegistryTag]) -> RegistryTag | None:
    """The latest change of champion, if there is one."""
    changes = assignments(tags)
    return changes[-1] if changes else None


def version_at(tags: Sequence[RegistryTag], commit: str) -> str | None:
    """Name of the version that is registered at a commit."""
    return next((tag.name.version for tag in tags if tag.name.action == "register" and tag.commit == commit), None)


def taken_back_by(tags: Sequence[RegistryTag]) -> RegistryTag | None:
    """The tag made by hand since the latest change of champion, after which GTO and DVC may disagree on who is."""
    latest = latest_assignment(tags)
    if latest is None:
        return None
    version = version_at(tags, latest.commit)
    return next((tag for tag in tags if tag.made_at >= latest.made_at and _cancels(tag, version)), None)


def _cancels(tag: RegistryTag, version: str | None) -> bool:
    if tag.name.action == "unassign":
        return tag.name.stage == STAGE
    return tag.name.action == "deprecate" or (tag.name.action == "deregister" and tag.name.version == version)


def _champion_among(root: Path, tags: Sequence[RegistryTag]) -> ChampionRecord | None:
    latest, cancelling = latest_assignment(tags), taken_back_by(tags)
    if latest is not None and cancelling is not None:
        raise IntegrityError(
            got=f"the champion {latest.tag}, taken back by hand with {cancelling.tag}: GTO and `dvc artifacts get` no longer agree on it.",
            allowed="one champion that both name.",
            next_step="say who it is with `regraft promote VERSION` or `regraft rollback`, "
            f"or undo it with `git tag -d '{cancelling.tag}'`.",
        )
    return _records(root, tags, [latest])[0] if latest else None


def _records(root: Path, tags: Sequence[RegistryTag], changes: Sequence[RegistryTag]) -> list[ChampionRecord]:
    commits = {change.commit for change in changes}
    known = {version.commit: version for version in read_versions(root, [tag for tag in tags if tag.commit in commits])}
    return [_record(change, known.get(change.commit)) for change in changes]


def _record(change: RegistryTag, model: ModelVersion | None) -> ChampionRecord:
    if model is None:
        raise IntegrityError(
            got=f"the champion {change.tag} at commit {change.commit[:12]}, where no version is registered.",
            allowed="a champion that is a registered version.",
            next_step="put a registered one in its place with `regraft promote VERSION` or `regraft rollback`.",
        )
    kind = change.record.get("kind")
    evidence = change.record.get("evidence")
    return ChampionRecord(
        project=model.project,
        version=model.name,
        bundle_id=model.bundle_id,
        dataset_digest=model.dataset_digest,
        commit=model.commit,
        promoted_at=change.made_at,
        promoted_by=change.made_by,
        kind="promote" if kind == "promote" else "rollback" if kind == "rollback" else "by hand",
        why=str(change.record.get("why", change.text)),
        evidence=evidence if isinstance(evidence, dict) else {},
        tag=change.tag,
    )
