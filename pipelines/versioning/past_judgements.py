"""All candidates that were judged and recorded, shipped or not: what the gate `test_reuse` counts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from pipelines.core.errors import IntegrityError
from pipelines.versioning import git
from pipelines.versioning.model_versions import versions
from pipelines.versioning.refusals import refusals

_DECISION = "models/decision.json"


@dataclass(frozen=True)
class PastJudgement:
    """One judgement on one candidate.

    Attributes:
        bundle_id: Of the candidate.
        judgement: As it was recorded.
    """

    bundle_id: str
    judgement: Mapping[str, JsonValue]


def past_judgements(root: Path, project: str) -> list[PastJudgement]:
    """Of the registered versions, and then of the refused candidates, each oldest first; a candidate that was judged twice is there twice.

    Raises:
        IntegrityError: A version's decision is not in git, or no JSON object.
    """
    registered = versions(root, project)
    blobs = git.read_blobs(root, [f"{version.commit}:{_DECISION}" for version in registered])
    shipped = [PastJudgement(version.bundle_id, _parsed(version.name, blobs[f"{version.commit}:{_DECISION}"])) for version in registered]
    return shipped + [PastJudgement(refusal.bundle_id, refusal.decision) for refusal in refusals(root)]


def _parsed(version: str, content: bytes | None) -> Mapping[str, JsonValue]:
    try:
        decision = json.loads(content or b"")
    except ValueError:
        decision = None
    if not isinstance(decision, dict):
        raise IntegrityError(
            got=f"the version {version}, whose commit holds no readable {_DECISION}.",
            allowed="versions that `regraft` registered, with the decision that let them ship.",
            next_step="run `git fsck`, and `git fetch` where commits are missing.",
        )
    return decision
