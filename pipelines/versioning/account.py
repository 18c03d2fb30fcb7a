"""All that git knows of a version in one JSON object: what `regraft show --json` prints and `regraft diff` compares."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from pipelines.core.errors import RegraftError
from pipelines.versioning.champions import ChampionRecord, assignments, version_at
from pipelines.versioning.dataset_changes import DatasetState, dataset_changes
from pipelines.versioning.lineage import Lineage, show
from pipelines.versioning.model_versions import ModelVersion
from pipelines.versioning.tags import RegistryTag, read_tags

WEIGHTS = "weights.safetensors"
_DEFAULT_LABELS_TABLE = "labels.csv"
_MEASURES = ("accuracy", "accuracy_by_domain", "accuracy_by_label", "by_label", "log_loss", "expected_calibration_error")


def account_of(root: Path, project: str, version: str) -> dict[str, Any]:
    """The whole lineage of a version.

    Returns:
        Keys as `docs/guides/registry.md` lists them. What a version of the code did not record is None.

    Raises:
        ConfigurationError: There is no such version.
        IntegrityError: Its records in git are not readable.
    """
    lineage = show(root, project, version)
    tags = read_tags(root, project)
    parent = parent_version(tags, lineage.model)
    return {**account(lineage), "data": _data(root, lineage, show(root, project, parent) if parent else None)}


def account(lineage: Lineage) -> dict[str, Any]:
    """The same without the comparison of its data with its parent's."""
    model, made_from = lineage.model, _mapping(lineage.lineage)
    provenance = _mapping(lineage.records.get("provenance.json"))
    training = _mapping(lineage.records.get("training.json"))
    evaluation = _mapping(lineage.records.get("evaluation.json"))
    return {
        "version": model.name,
        "bundle": model.bundle_id,
        "commit": model.commit,
        "dataset": model.dataset_digest,
        "registered_at": model.registered_at.isoformat(),
        "split": made_from.get("split"),
        "workspace": provenance.get("workspace"),
        "config": provenance.get("config") or made_from.get("config"),
        "backbone": lineage.manifest.backbone.model_dump(mode="json"),
        "weights_sha256": lineage.manifest.files.get(WEIGHTS),
        "method": {"configured": _mapping(_mapping(made_from.get("config")).get("method")).get("kind"), "kept": training.get("kept")},
        "seed": made_from.get("seed"),
        "libraries": {**_mapping(provenance.get("libraries")), **_mapping(made_from.get("versions"))},
        "code": provenance.get("code"),
        "hardware": provenance.get("hardware"),
        "cut_by_budget": training.get("cut_by_budget"),
        "metrics": {name: evaluation[name] for name in _MEASURES if name in evaluation},
        "run": provenance.get("run"),
        "trigger": provenance.get("trigger"),
        "lineage": lineage.lineage,
        "decision": lineage.decision,
        "promotions": [champion_row(record) for record in lineage.promotions],
    }


def champion_row(record: ChampionRecord) -> dict[str, JsonValue]:
    """One change of champion, for machines."""
    return {
        "promoted_at": record.promoted_at.isoformat(),
        "version": record.version,
        "bundle": record.bundle_id,
        "dataset": record.dataset_digest,
        "kind": record.kind,
        "why": record.why,
    }


def parent_version(tags: list[RegistryTag], model: ModelVersion) -> str | None:
    """What a version was meant to replace: the champion when it was registered, else the version registered before it."""
    earlier = [tag for tag in tags if tag.made_at <= model.registered_at and tag.commit != model.commit]
    champions = [version for tag in assignments(earlier) if (version := version_at(tags, tag.commit))]
    registered = [tag.name.version for tag in earlier if tag.name.action == "register"]
    return (champions or registered or [None])[-1]


def dataset_state(lineage: Lineage) -> DatasetState:
    """Where a version's dataset is named, and which file of it is the labels table."""
    data = _mapping(_mapping(_mapping(lineage.lineage).get("config")).get("data"))
    return DatasetState(lineage.model.commit, str(data.get("labels_table") or _DEFAULT_LABELS_TABLE))


def changes_between(root: Path, old: Lineage, new: Lineage) -> dict[str, JsonValue]:
    """Added, removed and relabelled samples; or why that cannot be told: a lost listing hides none of the rest."""
    try:
        return dataset_changes(root, dataset_state(old), dataset_state(new)).as_json()
    except RegraftError as error:
        return {"old": old.model.dataset_digest, "new": new.model.dataset_digest, "unknown": str(error)}


def _data(root: Path, lineage: Lineage, parent: Lineage | None) -> dict[str, JsonValue]:
    if parent is None:
        return {"digest": lineage.model.dataset_digest, "parent": None, "changes": None}
    return {"digest": lineage.model.dataset_digest, "parent": parent.model.name, "changes": changes_between(root, parent, lineage)}


def _mapping(value: JsonValue | Mapping[str, JsonValue]) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}
