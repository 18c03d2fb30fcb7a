"""What a version is made of and what became of it, from git alone: nothing is downloaded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue, ValidationError

from pipelines.core.bundle import BundleManifest
from pipelines.core.errors import IntegrityError
from pipelines.versioning import git
from pipelines.versioning.champions import ChampionRecord, history
from pipelines.versioning.model_versions import LINEAGE_COPY, MANIFEST_COPY, RECORD_NAMES, ModelVersion, find_version


@dataclass(frozen=True)
class Lineage:
    """A version with everything that git knows of it.

    Attributes:
        model: Bundle id, commit, dataset digest.
        manifest: Of the bundle: labels, backbone, hashes of its files.
        lineage: The bundle's own account of what made it: configuration, seeds, versions.
        decision: Why it may ship.
        records: The other JSON records by file name, for example `evaluation.json`.
        card: The model card; empty if none was registered.
        promotions: When it became champion, oldest first.
    """

    model: ModelVersion
    manifest: BundleManifest
    lineage: JsonValue
    decision: JsonValue
    records: Mapping[str, JsonValue]
    card: str
    promotions: tuple[ChampionRecord, ...]


def show(root: Path, project: str, version: str) -> Lineage:
    """Where a version came from.

    Raises:
        ConfigurationError: There is no such version.
        IntegrityError: Its records in git are not readable.
    """
    model = find_version(root, project, version)
    paths = [MANIFEST_COPY, LINEAGE_COPY, *(f"models/{name}" for name in RECORD_NAMES)]
    blobs = git.read_blobs(root, [f"{model.commit}:{path}" for path in paths])
    contents = {path: content for path in paths if (content := blobs[f"{model.commit}:{path}"]) is not None}
    try:
        parsed = {path: json.loads(content) for path, content in contents.items() if path.endswith(".json")}
        manifest = BundleManifest.model_validate_json(contents[MANIFEST_COPY])
    except (ValueError, ValidationError) as error:
        raise IntegrityError(
            got=f"records of {project} {version} at commit {model.commit[:12]} that cannot be read: {error}.",
            allowed="the JSON that was registered.",
            next_step="run `git fsck`.",
        ) from error
    records = {name: parsed[f"models/{name}"] for name in RECORD_NAMES if f"models/{name}" in parsed and name != "decision.json"}
    return Lineage(
        model=model,
        manifest=manifest,
        lineage=parsed.get(LINEAGE_COPY),
        decision=parsed.get("models/decision.json"),
        records=records,
        card=contents.get("models/card.md", b"").decode(errors="replace"),
        promotions=tuple(change for change in history(root, project) if change.version == version),
    )
