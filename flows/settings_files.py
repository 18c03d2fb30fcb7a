"""Prefect settings that lie in files of the current folder.

Prefect reads `.env`, `prefect.toml` and `pyproject.toml` (`[tool.prefect]`) of whatever folder a command is started in. In a folder that is
not the workspace, such a file would silently send the workspace's runs to somebody else's server or database.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipelines.core.errors import ConfigurationError

_DESTINATIONS = ("PREFECT_API_", "PREFECT_CLOUD_API_", "PREFECT_SERVER_DATABASE_", "PREFECT_CLIENT_CUSTOM_HEADERS")


def destination_settings(folder: Path) -> dict[str, str]:
    """Settings in files of `folder` that decide which server or database Prefect uses.

    Returns:
        Environment variable name -> name of the file that sets it.

    Raises:
        ConfigurationError: A file cannot be read.
    """
    found = {name: source for source, names in _names_by_file(folder) for name in names}
    return {name: source for name, source in found.items() if name.startswith(_DESTINATIONS)}


def refuse_settings_of_another_folder(workspace_root: Path) -> None:
    """Refuses to run where Prefect would read a destination from files that are not the workspace's own.

    A variable that is set in the environment wins over the files, so exporting it is a way out.

    Raises:
        ConfigurationError: Names each setting and its file.
    """
    folder = Path.cwd()
    if folder == workspace_root:
        return
    settings = {name: source for name, source in destination_settings(folder).items() if name not in os.environ}
    if settings:
        listed = ", ".join(f"{name} in {source}" for name, source in sorted(settings.items()))
        raise ConfigurationError(
            got=f"Prefect settings of the current folder, which is not the workspace {workspace_root.name}: {listed}.",
            allowed="such settings in the workspace's own folder or in the environment.",
            next_step="run the command in the workspace, or export the setting yourself.",
        )


def _names_by_file(folder: Path) -> Iterator[tuple[str, list[str]]]:
    from dotenv import dotenv_values

    if (folder / ".env").is_file():
        yield ".env", [name.upper() for name in dotenv_values(folder / ".env")]
    yield "prefect.toml", list(_flattened("PREFECT", _read_toml(folder / "prefect.toml")))
    tool = _read_toml(folder / "pyproject.toml").get("tool", {})
    yield "pyproject.toml", list(_flattened("PREFECT", tool.get("prefect", {})))


def _read_toml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(
            got=f"{path.name} in the current folder, which cannot be read: {error}.",
            allowed="TOML in UTF-8: Prefect reads this file.",
            next_step="correct the file, or run the command in another folder.",
        ) from error


def _flattened(prefix: str, table: Mapping[str, Any]) -> Iterator[str]:
    for key, value in table.items():
        name = f"{prefix}_{key.upper()}"
        if isinstance(value, Mapping):
            yield from _flattened(name, value)
        else:
            yield name
