"""One command's or run's view of a workspace: its folders, its configuration, and the environment of the tools."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from flows.environment import apply_environment
from pipelines.config import ProjectConfig, load_config
from pipelines.core.errors import ConfigurationError
from pipelines.workspace import Workspace


@dataclass(frozen=True)
class Session:
    """A workspace that is ready to be worked in."""

    workspace: Workspace
    config: ProjectConfig


def open_session(folder: Path, conf: Path | None = None, overrides: Sequence[str] = ()) -> Session:
    """Checks the workspace and its configuration and sets the environment of Prefect and the other tools.

    Raises:
        ConfigurationError: No workspace, or a wrong conf file.
    """
    workspace = Workspace.at(folder)
    config = load_config(conf or only_conf_file(workspace), overrides)
    apply_environment(workspace)
    return Session(workspace, config)


def only_conf_file(workspace: Workspace) -> Path:
    """The workspace's conf file, where there is just one.

    Raises:
        ConfigurationError: There are several.
    """
    files = sorted((workspace.root / "conf").glob("*.yaml"))
    if len(files) != 1:
        raise ConfigurationError(
            got=f"{len(files)} conf files: {', '.join(file.name for file in files)}.",
            allowed="one, or the choice of one.",
            next_step=f"name it: --conf conf/{files[0].name}.",
        )
    return files[0]
