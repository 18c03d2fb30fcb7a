"""Changing the champion: one tag, written by GTO. It is there or it is not; there is no half of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import JsonValue

from pipelines.core.errors import ConfigurationError, ConflictError
from pipelines.versioning import git
from pipelines.versioning.bundles import materialise
from pipelines.versioning.champions import ChampionRecord, assignments, champion, latest_assignment, taken_back_by, version_at
from pipelines.versioning.gto_import import import_gto
from pipelines.versioning.model_versions import find_version, unknown_version
from pipelines.versioning.registry_lock import registry_lock
from pipelines.versioning.tags import STAGE, RegistryTag, gto_writing, read_tags

WHOEVER_IS = "whoever is champion now"


@dataclass(frozen=True)
class Promotion:
    """What became of a promotion or rollback.

    Attributes:
        champion: As it is now.
        previous: The version before, or None.
        changed: False if it had been champion already.
    """

    champion: ChampionRecord
    previous: str | None
    changed: bool


def promote(
    root: Path, project: str, version: str, why: str, evidence: Mapping[str, JsonValue], *, judged_against: str | None = WHOEVER_IS
) -> Promotion:
    """Makes a registered version champion.

    Its bundle is fetched and verified first. Promoting the champion again changes nothing, so this may be called again after a crash.

    Args:
        root: The workspace.
        project: Name of the model.
        version: `v0.0.2`.
        why: In words, for the audit trail.
        evidence: What the decision was made on: trigger, gates.
        judged_against: The champion's version that the evidence compares with, None if there was none. By default whoever is
            champion when the call begins.

    Raises:
        ConflictError: Another version has become champion since; says which, when and why.
        ConfigurationError: Unknown or deregistered version, no identity, a lock that stays.
        IntegrityError: The version's bundle cannot be read.
    """
    seen = _champion_version(read_tags(root, project)) if judged_against == WHOEVER_IS else judged_against
    return _change(root, project, version, seen, _Change("promote", why, evidence))


def rollback(root: Path, project: str, why: str, to: str | None = None) -> Promotion:
    """Makes an earlier champion champion again.

    Rollbacks go further back each time: after v1, v2, v3, the first gives v2 and the second v1, never v3 again.

    Args:
        root: The workspace.
        project: Name of the model.
        why: In words, for the audit trail.
        to: A registered version; by default the champion before this one.

    Raises:
        ConflictError: The champion changed meanwhile.
        ConfigurationError: There is no earlier champion, or no such version.
        IntegrityError: The bundle to go back to cannot be read. That of the present champion need not be readable.
    """
    tags = read_tags(root, project)
    target = to or _before(project, tags)
    return _change(root, project, target, _champion_version(tags), _Change("rollback", why, {}))


@dataclass(frozen=True)
class _Change:
    kind: Literal["promote", "rollback"]
    why: str
    evidence: Mapping[str, JsonValue]


def _change(root: Path, project: str, version: str, seen: str | None, change: _Change) -> Promotion:
    git.identity(root)
    _check_why(change.why)
    with registry_lock(root):
        tags = read_tags(root, project)
        _require_active(project, version, tags)
        present = _champion_version(tags)
        if present == version and taken_back_by(tags) is None:
            return Promotion(_champion(root, project), previous=present, changed=False)
        if present != seen:
            raise _overtaken(root, project, version, seen)
        _require_readable(root, project, version)
        _assign(root, project, version, present, change, tags)
        return Promotion(_champion(root, project), previous=present, changed=True)


def _check_why(why: str) -> None:
    if not why.strip():
        raise ConfigurationError(
            got="no reason.", allowed="a sentence that says why.", next_step="add one, for example with -m 'worse on scanner 3'."
        )


def _champion(root: Path, project: str) -> ChampionRecord:
    record = champion(root, project)
    if record is None:
        raise RuntimeError(f"{project} has no champion right after a promotion")
    return record


def _champion_version(tags: Sequence[RegistryTag]) -> str | None:
    latest = latest_assignment(tags)
    # An unregistered champion has no version; its commit stands for it, so that it can still be replaced.
    return (version_at(tags, latest.commit) or latest.commit) if latest else None


def _require_active(project: str, version: str, tags: Sequence[RegistryTag]) -> None:
    named = [tag for tag in tags if tag.name.version == version]
    if not any(tag.name.action == "register" for tag in named):
        raise unknown_version(project, version, tags)
    taken_back = [tag.tag for tag in named if tag.name.action == "deregister"]
    if taken_back:
        raise ConfigurationError(
            got=f"the version {version} of {project}, which {taken_back[-1]} deregistered.",
            allowed="a version that was not taken back.",
            next_step=f"promote another, or undo it with `git tag -d '{taken_back[-1]}'`.",
        )


def _overtaken(root: Path, project: str, version: str, seen: str | None) -> ConflictError:
    record = champion(root, project)
    winner = "nobody"
    if record:
        winner = f"{record.version} (since {record.promoted_at:%Y-%m-%d %H:%M:%S} UTC, by {record.promoted_by}: {record.why})"
    return ConflictError(
        got=f"{version} of {project}, judged against {f'the champion {seen}' if seen else 'no champion'}; the champion is now {winner}.",
        allowed="a decision against the champion of now.",
        next_step="judge it again with `regraft retrain` or `regraft evaluate`, or promote it knowingly with `regraft promote`.",
    )


def _require_readable(root: Path, project: str, version: str) -> None:
    checking = root / ".regraft" / "checking"  # one place, under the lock: what a killed promotion left there goes too
    shutil.rmtree(checking, ignore_errors=True)
    try:
        materialise(root, find_version(root, project, version), checking / version)
    finally:
        shutil.rmtree(checking, ignore_errors=True)


def _assign(root: Path, project: str, version: str, previous: str | None, change: _Change, tags: Sequence[RegistryTag]) -> None:
    record = {"kind": change.kind, "why": change.why, "evidence": dict(change.evidence), "previous": previous}
    message = f"{change.kind} {version}: {' '.join(change.why.split())[:72]}\n\n{json.dumps(record, sort_keys=True, allow_nan=False)}"
    changes = [tag.made_at for tag in tags if tag.name.action != "register"]
    with gto_writing(root, max(changes, default=None)) as author:
        import_gto().assign(
            str(root), project, STAGE, version=version, message=message, force=True, author=author.name, author_email=author.email
        )


def _before(project: str, tags: Sequence[RegistryTag]) -> str:
    standing: list[str] = []
    for change in assignments(tags):
        version = version_at(tags, change.commit)
        if version is None:
            continue
        if change.record.get("kind") != "promote" and version in standing:  # a step back: what stood above it is gone
            while standing.pop() != version:
                pass
        standing.append(version)
    earlier = [version for version in standing if version != _champion_version(tags)]
    if not earlier:
        raise ConfigurationError(
            got=f"a rollback of {project}, which has had no earlier champion.",
            allowed="a project with an earlier champion to go back to.",
            next_step="name a registered version with `regraft rollback --to VERSION`, or retrain with `regraft retrain`.",
        )
    return earlier[-1]
