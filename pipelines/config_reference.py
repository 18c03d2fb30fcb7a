"""The reference of all configuration keys, made from the models themselves.

python -m pipelines.config_reference > docs/guides/configuration.md
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Sequence
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pipelines.config import ProjectConfig

_HEADER = """# Configuration

One YAML file in `conf/`. Unknown keys, missing keys, keys given twice and values out of range are errors, all reported at once. Any key but
`gates` can be replaced for one run with `--set a.b=c`, which passes the same checks; gates are changed in the file, where git sees it.
`null` means: nothing. This page is made from the models in `pipelines/config/`.
"""


def render_reference() -> str:
    """The Markdown text of the page."""
    return "\n".join([_HEADER, *_section("The file", ProjectConfig, set())]).rstrip() + "\n"


def _section(title: str, model: type[BaseModel], seen: set[type[BaseModel]]) -> list[str]:
    seen.add(model)
    lines = [f"## {title}", "", _summary(model), "", "| key | default | allowed | meaning |", "|---|---|---|---|"]
    meanings = _meanings(model)
    parts: list[str] = []
    for name, field in model.model_fields.items():
        lines.append(f"| `{name}` | {_default(field)} | {_allowed(field)} | {meanings.get(name, '')} |")
        for part in _models(field.annotation):
            if part not in seen:
                parts += _section(_part_title(name, part), part, seen)
    return [*lines, "", *parts]


def _part_title(name: str, model: type[BaseModel]) -> str:
    kind = model.model_fields.get("kind")
    return f"`{name}`, kind `{get_args(kind.annotation)[0]}`" if kind else f"`{name}`"


def _summary(model: type[BaseModel]) -> str:
    text = inspect.getdoc(model) or ""
    return re.sub(r"\s*\n\s*", " ", text.partition("\n\nAttributes:")[0]).strip()


def _meanings(model: type[BaseModel]) -> dict[str, str]:
    found: dict[str, str] = {}
    for parent in reversed(model.__mro__):  # a method's section inherits keys that all trainings share
        if issubclass(parent, BaseModel):
            found |= _own_meanings(parent)
    return found


def _own_meanings(model: type[BaseModel]) -> dict[str, str]:
    _, _, attributes = inspect.cleandoc(model.__doc__ or "").partition("Attributes:\n")
    found: dict[str, str] = {}
    for match in re.finditer(r"^ {4}([a-z_0-9, ]+): (.*(?:\n {8}.*)*)", attributes, flags=re.MULTILINE):
        for name in match.group(1).split(", "):
            found[name] = re.sub(r"\s+", " ", match.group(2)).replace("|", "\\|")
    return found


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    if isinstance(value, BaseModel):
        return "see below"
    return f"`{value if isinstance(value, str) else json.dumps(value, default=str)}`"


def _allowed(field: FieldInfo) -> str:
    annotation, limits, is_optional = _unwrapped(field.annotation, field.metadata)
    shown = ", ".join(f"{sign} {getattr(limit, name)}" for limit in limits for name, sign in _LIMITS if hasattr(limit, name))
    return f"{_type_name(annotation)}{' ' if shown else ''}{shown}{', or `null`' if is_optional else ''}"


_LIMITS = (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<"), ("min_length", "at least"))


def _unwrapped(annotation: Any, limits: Sequence[Any]) -> tuple[Any, list[Any], bool]:
    """The type itself, its limits, and whether null is allowed too."""
    if get_origin(annotation) is Annotated:
        inner, *given = get_args(annotation)
        own = [limit for item in given for limit in (item.metadata if isinstance(item, FieldInfo) else [item])]
        return _unwrapped(inner, [*limits, *own])
    parts = [part for part in get_args(annotation) if part is not NoneType]
    if NoneType in get_args(annotation) and len(parts) == 1:
        inner, found, _ = _unwrapped(parts[0], limits)
        return inner, found, True
    return annotation, list(limits), False


def _type_name(annotation: Any) -> str:
    if _models(annotation):
        return "section" if len(_models(annotation)) == 1 else "one of the kinds below"
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(annotation))
    if get_origin(annotation) is tuple:
        item = get_args(annotation)[0]
        return f"list of {_type_name(item)}" if get_origin(item) is Literal else "list"
    names = {int: "integer", float: "number", str: "text", bool: "true or false"}
    return names.get(annotation) or ("mapping" if get_origin(annotation) is dict else "path" if annotation is Path else "text")


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]


if __name__ == "__main__":
    print(render_reference(), end="")
