"""The reference of all configuration keys, made from the models themselves.

python -m pipelines.config_reference > docs/guides/configuration.md
"""

from __future__ import annotations

import inspect
import re
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pipelines.config import ProjectConfig

_HEADER = """# Configuration

One YAML file in `conf/`. Unknown keys, missing keys, keys given twice and values out of range are errors, all reported at once. Any key but
`gates` can be replaced for one run with `--set a.b=c`, which passes the same checks; gates are changed in the file, where git sees it.
This page is made from the models in `pipelines/config/`.
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
    return "see below" if isinstance(value, BaseModel) else f"`{value}`"


def _allowed(field: FieldInfo) -> str:
    choices = get_args(field.annotation) if str(field.annotation).startswith("typing.Literal") else ()
    if choices:
        return ", ".join(f"`{choice}`" for choice in choices)
    limits = [f"{sign} {getattr(item, name)}" for item in field.metadata for name, sign in _LIMITS if getattr(item, name, None) is not None]
    return f"{_type_name(field.annotation)}{' ' if limits else ''}{', '.join(limits)}"


_LIMITS = (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<"), ("min_length", "at least"))


def _type_name(annotation: Any) -> str:
    if _models(annotation):
        return "section" if len(_models(annotation)) == 1 else "one of the kinds below"
    names = {int: "integer", float: "number", str: "text", bool: "true or false"}
    if annotation in names:
        return names[annotation]
    text = str(annotation)
    plain = "list" if text.startswith("tuple") else "mapping" if text.startswith("dict") else "path" if "Path" in text else "text"
    return f"{plain} or nothing" if "None" in text else plain


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]


if __name__ == "__main__":
    print(render_reference(), end="")
