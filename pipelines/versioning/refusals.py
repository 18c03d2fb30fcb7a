"""Candidates that did not ship, kept in git with the decision: `models/refused/BUNDLE_ID.json`."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from pipelines.core.errors import ConfigurationError
from pipelines.versioning import git
from pipelines.versioning.registry_lock import registry_lock

REFUSED = "models/refused"


@dataclass(frozen=True)
class Refusal:
    """One refused candidate.

    Attributes:
        bundle_id: Of its bundle, which is not kept.
        commit: That recorded it.
        refused_at: UTC, to the second.
        decision: As it was recorded.
    """

    bundle_id: str
    commit: str
    refused_at: datetime.datetime
    decision: Mapping[str, JsonValue]


def record_refusal(root: Path, bundle_id: str, decision: Mapping[str, JsonValue]) -> Refusal:
    """Commits the decision on a candidate that was refused. The same decision again makes no second commit.

    Raises:
        ConfigurationError: `bundle_id` is none, or git cannot commit.
    """
    git.require_top_level(root)
    if not re.fullmatch(r"[0-9a-f]{16}", bundle_id):
        raise ConfigurationError(
            got=f"the bundle id {bundle_id!r}.", allowed="16 hex digits.", next_step="hand over the id that the bundle was sealed with."
        )
    path = f"{REFUSED}/{bundle_id}.json"
    git.identity(root)
    with registry_lock(root):
        (root / REFUSED).mkdir(parents=True, exist_ok=True)
        (root / path).write_text(json.dumps(dict(decision), indent=1, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")
        git.commit_paths(root, f"Refuse candidate {bundle_id}", [path])
    return next(refusal for refusal in reversed(refusals(root)) if refusal.bundle_id == bundle_id)


def refusals(root: Path) -> list[Refusal]:
    """All refusals of the branch's history, oldest first; a candidate that was refused twice is there twice."""
    git.require_top_level(root)
    output = git.run_git(root, "log", "--reverse", "--diff-filter=AM", "--format=%x00%H %ct", "--name-only", "--", REFUSED).decode()
    found: list[tuple[str, str, int]] = []
    for entry in filter(None, output.split("\0")):
        head, *paths = entry.split("\n")
        commit, unix_seconds = head.split(" ")
        found += [(path, commit, int(unix_seconds)) for path in paths if path.endswith(".json")]
    blobs = git.read_blobs(root, [f"{commit}:{path}" for path, commit, _ in found])
    return [
        Refusal(
            Path(path).stem,
            commit,
            datetime.datetime.fromtimestamp(unix_seconds, tz=datetime.UTC),
            json.loads(blobs[f"{commit}:{path}"] or b"{}"),
        )
        for path, commit, unix_seconds in found
    ]
