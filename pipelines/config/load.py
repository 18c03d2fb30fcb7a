"""Reads a conf file: all errors at once, each with its path, the value and what is allowed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from pipelines.conf_yaml import apply_override, read_mapping
from pipelines.config.backbones import Backbone, BestOfBackbones, ShippedBackbone, SingleBackbone, TransformersBackbone
from pipelines.config.project import ProjectConfig
from pipelines.core.errors import ConfigurationError, Finding


def load_config(path: Path, overrides: Sequence[str] = ()) -> ProjectConfig:
    """Reads a conf file.

    Args:
        path: The YAML file.
        overrides: `a.b=c` items, as given with `--set`; the value is read as YAML and passes the same checks. Gates are refused.

    Raises:
        ConfigurationError: The file is missing, no YAML mapping, has a key twice, or has wrong values: all of them are listed.
    """
    content = read_mapping(path)
    for override in overrides:
        apply_override(content, override)
    try:
        return _with_absolute_weights(ProjectConfig.model_validate(content), path)
    except ValidationError as error:
        findings = [Finding(_dotted(item["loc"]), _describe(item)) for item in error.errors(include_url=False)]
        raise ConfigurationError(
            got=f"{path.name} with {len(findings)} wrong {'entry' if len(findings) == 1 else 'entries'}: "
            + "; ".join(f"{finding.where}: {finding.problem}" for finding in findings)
            + ".",
            allowed="the keys and values that docs/guides/configuration.md lists.",
            next_step=f"correct {'it' if len(findings) == 1 else 'them'} and run the command again.",
            findings=findings,
        ) from error


def _with_absolute_weights(config: ProjectConfig, path: Path) -> ProjectConfig:
    workspace = path.absolute().parent.parent
    clip = config.zero_shot.clip
    if clip is not None and clip.folder is not None:
        clip = clip.model_copy(update={"folder": workspace / clip.folder.expanduser()})
    zero_shot = config.zero_shot.model_copy(update={"clip": clip})
    return config.model_copy(update={"backbone": _absolute(config.backbone, workspace), "zero_shot": zero_shot})


def _absolute(backbone: Backbone, workspace: Path) -> Backbone:
    if isinstance(backbone, BestOfBackbones):
        return backbone.model_copy(update={"candidates": tuple(absolute_entry(entry, workspace) for entry in backbone.candidates)})
    return absolute_entry(backbone, workspace)


def absolute_entry(entry: SingleBackbone, workspace: Path) -> SingleBackbone:
    """The entry with the path of its weights absolute."""
    if isinstance(entry, TransformersBackbone):
        return entry if entry.folder is None else entry.model_copy(update={"folder": workspace / entry.folder.expanduser()})
    if isinstance(entry, ShippedBackbone) or entry.weights is None:
        return entry
    return entry.model_copy(update={"weights": workspace / entry.weights.expanduser()})


def _allowed_keys(location: tuple[int | str, ...]) -> list[str]:
    """The keys of the section at this place; a union's part of the location is the kind that was chosen."""
    section: Any = ProjectConfig
    for part in location:
        candidates = [section] if not get_args(section) else [*_models(section)]
        fields = {name: field.annotation for model in candidates for name, field in getattr(model, "model_fields", {}).items()}
        chosen = [model for model in candidates if _kind(model) == part]
        section = chosen[0] if chosen else fields.get(str(part), section)
    models = _models(section)
    return sorted({name for model in models for name in model.model_fields})


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]


def _kind(model: type[BaseModel]) -> str | None:
    field = model.model_fields.get("kind")
    return str(get_args(field.annotation)[0]) if field else None


def _dotted(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location) or "(the whole file)"


def _describe(item: Any) -> str:
    value = item["input"]
    if item["type"] == "extra_forbidden":
        return f"{str(item['loc'][-1])!r} is no key here; allowed: {', '.join(_allowed_keys(item['loc'][:-1]))}"
    shown = "" if item["type"] == "missing" or isinstance(value, dict) else f" (got {value!r})"
    return f"{item['msg'][:1].lower()}{item['msg'][1:]}{shown}"
