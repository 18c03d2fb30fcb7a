"""The configuration that a registered version was made under, completed with where the backbone's weights lie on this machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from flows.session import Session
from pipelines.conf_yaml import read_mapping
from pipelines.config import BestOfBackbones, ProjectConfig, ShippedBackbone, TransformersBackbone
from pipelines.core.bundle import file_sha256
from pipelines.core.errors import ConfigurationError
from pipelines.versioning.lineage import Lineage


def recorded_config(session: Session, lineage: Lineage, exported: Path, places: Sequence[Path]) -> ProjectConfig:
    """The version's configuration.

    Args:
        session: Its own weights are looked at, too.
        lineage: Of the version.
        exported: Files of the version's commit.
        places: Further weights files, or folders of them.

    Raises:
        ConfigurationError: It is none that this code reads, or weights with the recorded sha256 are not found.
    """
    # What only a report measures is not measured again, and its network need not be there any more.
    content = {key: part for key, part in _content(lineage, exported).items() if key != "zero_shot"}
    searched = [*places, *_present_weights(session), exported]
    for entry, sha256 in _local_entries(content["backbone"], lineage):
        found = _find(sha256, str(entry.get("name", "the transformer")), searched)
        # A transformer's weights lie with its other files.
        entry |= {"folder": str(found.parent)} if entry["kind"] == "transformers" else {"weights": str(found)}
    try:
        return ProjectConfig.model_validate(content)
    except ValidationError as error:
        raise ConfigurationError(
            got=f"the configuration of {lineage.model.name}, which this version of Regraft does not read: {error.errors()[0]['msg']}.",
            allowed="a configuration of this version of Regraft.",
            next_step="check out the Regraft that made it: `regraft show` names its version and the digests of its code.",
        ) from error


def _content(lineage: Lineage, exported: Path) -> dict[str, Any]:
    provenance = lineage.records.get("provenance.json")
    if isinstance(provenance, dict) and isinstance(provenance.get("config"), dict):
        return dict(provenance["config"])  # type: ignore[arg-type]
    # Registered before there was such a record: what the bundle depends on is in its lineage, the rest in the commit's conf file.
    for path in sorted((exported / "conf").glob("*.yaml")):
        content = read_mapping(path)
        if content.get("project") == lineage.model.project:
            made_from = lineage.lineage if isinstance(lineage.lineage, dict) else {}
            return {**content, **(made_from.get("config") or {})}  # type: ignore[dict-item]
    raise ConfigurationError(
        got=f"{lineage.model.name}, whose records and commit hold no configuration of {lineage.model.project}.",
        allowed="a version that was registered with its configuration.",
        next_step="look at `git show COMMIT:models/lineage.json`.",
    )


def _local_entries(backbone: dict[str, Any], lineage: Lineage) -> Iterator[tuple[dict[str, Any], str]]:
    """The entries whose weights are a file, with the sha256 that it must have."""
    entries = backbone["candidates"] if backbone["kind"] == "best_of" else [backbone]
    provenance = lineage.records.get("provenance.json")
    recorded = provenance.get("backbone_sources") if isinstance(provenance, dict) else None
    sources = recorded if isinstance(recorded, list) else [{}] * len(entries)
    chosen = lineage.manifest.backbone.weights_sha256 if len(entries) == 1 else None
    for entry, source in zip(entries, sources, strict=True):
        if entry["kind"] in ("timm", "spectrogram", "transformers") and not entry.get("hub") and not entry.get("package"):
            stated = source.get("sha256") if isinstance(source, dict) else None
            yield entry, str(stated or entry.get("sha256") or chosen)


def _present_weights(session: Session) -> list[Path]:
    backbone = session.config.backbone
    entries = backbone.candidates if isinstance(backbone, BestOfBackbones) else (backbone,)
    places = [
        entry.folder if isinstance(entry, TransformersBackbone) else entry.weights
        for entry in entries
        if not isinstance(entry, ShippedBackbone)
    ]
    return [place for place in places if place is not None]


def _find(sha256: str, name: str, searched: Sequence[Path]) -> Path:
    for place in searched:
        files = sorted(place.rglob("*.safetensors")) if place.is_dir() else [place] if place.is_file() else []
        for path in files:
            if file_sha256(path) == sha256:
                return path.absolute()
    raise ConfigurationError(
        got=f"no weights of {name} with the recorded sha256 {sha256}.",
        allowed="that very file among those of the commit, of the conf file of now, or of --weights.",
        next_step="name the file, or a folder that holds it, with --weights.",
    )
