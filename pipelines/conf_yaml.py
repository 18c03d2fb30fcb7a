"""YAML as a conf file needs it: a mapping in which every key is there once, and overrides of single values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from pipelines.core.errors import ConfigurationError


class _UniqueKeyLoader(yaml.SafeLoader):
    """PyYAML keeps the last of two equal keys without a word; here the second is an error."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            line, same = key.start_mark.line + 1, (key.tag, key.value)
            if same in lines:
                raise yaml.MarkedYAMLError(f"the key {key.value!r} is on line {lines[same]} and again on line {line}")
            lines[same] = line
        return node


def read_mapping(path: Path) -> dict[str, Any]:
    """Reads a YAML file.

    Raises:
        ConfigurationError: It is missing, no YAML in UTF-8, has a key twice, or no mapping at its top.
    """
    try:
        content = _parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:  # ValueError: no UTF-8, or a date that there is not
        raise ConfigurationError(
            got=f"{path} that cannot be read: {error}.",
            allowed="a YAML file in UTF-8 in which every key is there once.",
            next_step="correct the file, or name another with --conf.",
        ) from error
    if not isinstance(content, dict):
        raise ConfigurationError(
            got=f"{path} with {type(content).__name__} at its top.", allowed="a mapping of keys to values.", next_step="correct the file."
        )
    return content


def apply_override(content: dict[str, Any], override: str) -> None:
    """Sets one value in place.

    Args:
        content: Of the conf file.
        override: `a.b=c`; the value is read as YAML.

    Raises:
        ConfigurationError: No such form, a path through something that is no section, a value that is no YAML, or a gate.
    """
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise ConfigurationError(
            got=f"--set {override}.", allowed="--set a.b=c, for example --set method.budget_minutes=5.", next_step="correct the option."
        )
    *parents, last = (part.strip() for part in key.split("."))
    _refuse_gates((*parents, last)[0], override)
    place = content
    for parent in parents:
        place = place.setdefault(parent, {})
        if not isinstance(place, dict):
            raise ConfigurationError(
                got=f"--set {override}: {parent} is no section.", allowed="a path through sections.", next_step="correct the option."
            )
    place[last] = _override_value(text, override)


def _refuse_gates(section: str, override: str) -> None:
    if section == "gates":
        raise ConfigurationError(
            got=f"--set {override}.",
            allowed="any key but gates: they are changed in the conf file, where git sees it.",
            next_step="edit gates in the conf file and commit it.",
        )


def _override_value(text: str, override: str) -> Any:
    try:
        return _parse(text)
    except (ValueError, yaml.YAMLError) as error:
        problem = getattr(error, "problem", None) or error
        raise ConfigurationError(
            got=f"--set {override}: its value is no YAML ({problem}).",
            allowed="a value as it would stand in the conf file, for example 3, text or [1, 2].",
            next_step="correct the option; put it in quotes if the shell changes it.",
        ) from error


def _parse(text: str) -> Any:
    return yaml.load(text, Loader=_UniqueKeyLoader)  # noqa: S506  # a SafeLoader
