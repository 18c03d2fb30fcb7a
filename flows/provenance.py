"""The record `provenance.json` of a registration: what differs between two identical runs, and so has no place in the bundle.

When, by which run, for which trigger, on which machine, with which code, from which state of the workspace. Git keeps it beside the
bundle; `regraft show`, `regraft diff` and `regraft reproduce` read it.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import JsonValue

from pipelines.code_digest import code_digest
from pipelines.config import MACHINE_PATHS, BestOfBackbones, ProjectConfig, SingleBackbone
from pipelines.hardware import HARDWARE_FILE

if TYPE_CHECKING:
    from flows.learning import Candidate
    from flows.session import Session

STAGE_MODULES = {
    "manifest": "pipelines.manifest",
    "split": "pipelines.split",
    "select": "pipelines.backbones",
    "train": "pipelines.training.train",
    "calibrate": "pipelines.calibrate",
    "package": "pipelines.package",
    "evaluate": "pipelines.evaluate",
}
_LIBRARIES = (
    "accelerate",
    "bentoml",
    "dvc",
    "evidently",
    "great-expectations",
    "gto",
    "numpy",
    "pandas",
    "pillow",
    "prefect",
    "safetensors",
    "scikit-learn",
    "scipy",
    "timm",
    "torch",
    "torchvision",
)


def provenance_record(session: Session, candidate: Candidate) -> bytes:
    """The record of this run, as JSON."""
    from pipelines.versioning.workspace_state import workspace_state

    trained = candidate.outputs["train"]
    content: dict[str, JsonValue] = {
        "recorded_at": datetime.now(UTC).isoformat(timespec="seconds"),
        **_run(session.workspace.root),
        "workspace": workspace_state(session.workspace.root).as_json(),
        "config": session.config.model_dump(mode="json", exclude=MACHINE_PATHS),
        "backbone_sources": _sources(session.config),
        "code": {"version": importlib.metadata.version("regraft"), "stages": code_digests(session.config)},
        "libraries": library_versions(),
        "hardware": _read(trained.path / HARDWARE_FILE),
        "trained_in_this_run": not trained.cached,
        "stages": {name: {"fingerprint": output.fingerprint, "seconds": output.seconds} for name, output in candidate.outputs.items()},
    }
    text = json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
    # A trigger's evidence names reports; in git a machine's path has no place.
    return text.replace(f"{session.workspace.root}/", "").encode()


def code_digests(config: ProjectConfig) -> dict[str, JsonValue]:
    """By stage: the digest of the code that makes its output, as of now."""
    select = "pipelines.selection" if isinstance(config.backbone, BestOfBackbones) else STAGE_MODULES["select"]
    return {stage: code_digest(module) for stage, module in (STAGE_MODULES | {"select": select}).items()}


def library_versions() -> dict[str, JsonValue]:
    """Of the libraries that a run rests on, as installed now."""
    return {name: importlib.metadata.version(name) for name in _LIBRARIES}


def backbone_entries(config: ProjectConfig) -> tuple[SingleBackbone, ...]:
    """The conf file's backbone, or all candidates of a `best_of`."""
    return config.backbone.candidates if isinstance(config.backbone, BestOfBackbones) else (config.backbone,)


def _sources(config: ProjectConfig) -> list[JsonValue]:
    """Of each backbone what it is, with the sha256 of its weights, but not where they lay."""
    from pipelines.backbones import source_description

    return [source_description(entry) for entry in backbone_entries(config)]


def _run(root: Path) -> dict[str, JsonValue]:
    """The flow run, what began it, and how it was called. Empty values where the record is made outside of a run."""
    from prefect.runtime import flow_run

    parameters: dict[str, Any] = dict(flow_run.parameters or {})
    conf = parameters.get("conf")
    return {
        "run": {"id": str(flow_run.id) if flow_run.id else None, "name": flow_run.name, "url": _address(flow_run.ui_url)},
        "trigger": parameters.get("trigger") or {"kind": "person"},
        "conf": _inside(root, Path(conf)) if conf else None,
        "overrides": [_without_paths(item) for item in parameters.get("overrides") or []],
    }


def _address(url: str | None) -> str | None:
    """A temporary server's address leads nowhere once its run is over; nor do a user's name and password belong into git."""
    if url is None or "PREFECT_API_URL" not in os.environ:
        return None
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _inside(root: Path, path: Path) -> str:
    resolved = path.expanduser().resolve()
    return str(resolved.relative_to(root)) if resolved.is_relative_to(root) else path.name


def _without_paths(override: str) -> str:
    key, _, value = override.partition("=")
    return f"{key}=(left out: it names a place of the machine)" if "weights" in override or "launch" in key else f"{key}={value}"


def _read(path: Path) -> JsonValue:
    if not path.is_file():  # made by a version of the code that kept no such record
        return None
    content: JsonValue = json.loads(path.read_bytes())
    return content
