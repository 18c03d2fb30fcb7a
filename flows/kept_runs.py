"""What a run keeps in the workspace under its own id, one JSON file each, so that it can go on with it, or another run can end it."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import BaseModel, ValidationError

from pipelines.workspace import Workspace

Content = TypeVar("Content", bound=BaseModel)
_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class KeptRuns(Generic[Content]):
    """`.regraft/FOLDER/RUN.json`.

    Attributes:
        folder: Its name.
        kind: Of the content.
    """

    folder: str
    kind: type[Content]

    def save(self, workspace: Workspace, run: str, content: Content) -> None:
        """Writes it in one step."""
        path = self._path(workspace, run)
        path.parent.mkdir(parents=True, exist_ok=True)
        staging = path.with_suffix(f".{os.getpid()}.part")
        staging.write_text(content.model_dump_json(indent=2), encoding="utf-8")
        staging.replace(path)

    def read(self, workspace: Workspace, run: str) -> Content | None:
        """None where the run has none, or where the file is none that this version can read."""
        try:
            return self.kind.model_validate(json.loads(self._path(workspace, run).read_bytes()))
        except (FileNotFoundError, ValidationError, ValueError):
            return None

    def all(self, workspace: Workspace) -> Iterator[Content]:
        """Of all runs, in no order."""
        for path in (workspace.state / self.folder).glob("*.json"):
            content = self.read(workspace, path.stem)
            if content is not None:
                yield content

    def exists(self, workspace: Workspace, run: str) -> bool:
        """Whether the run has one, also where it cannot be read."""
        return self._path(workspace, run).is_file()

    def unreadable(self, workspace: Workspace) -> list[str]:
        """Runs whose file is none that this version can read, by name."""
        runs = sorted(path.stem for path in (workspace.state / self.folder).glob("*.json"))
        return [run for run in runs if self.read(workspace, run) is None]

    def set_aside(self, workspace: Workspace, run: str) -> None:
        """Renames a file that cannot be read to `RUN.unreadable`, with a warning: nothing reads it any more, and a person can."""
        path = self._path(workspace, run)
        path.replace(path.with_suffix(".unreadable"))
        _LOGGER.warning("What the run %s kept in %s cannot be read; it was renamed to %s.unreadable.", run, path, run)

    def forget(self, workspace: Workspace, run: str) -> None:
        """Removes it, where it is there."""
        self._path(workspace, run).unlink(missing_ok=True)

    def _path(self, workspace: Workspace, run: str) -> Path:
        return workspace.state / self.folder / f"{run}.json"
