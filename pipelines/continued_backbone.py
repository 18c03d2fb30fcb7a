"""What continued pretraining of texts and of images share: a new folder, and the lines of the conf file that name what is in it."""

from __future__ import annotations

from pathlib import Path

import yaml

from pipelines.config import TimmBackbone, TransformersBackbone
from pipelines.core.errors import ConfigurationError
from pipelines.staging import is_vacant


def refuse_existing(out: Path) -> None:
    """Refuses a folder that is there.

    Raises:
        ConfigurationError: Something is in it.
    """
    if not is_vacant(out):
        raise ConfigurationError(
            got=f"--out {out}, which exists.",
            allowed="a folder that is not there yet: a backbone never changes under its name.",
            next_step="give another name, or remove the folder first.",
        )


def backbone_lines(entry: TimmBackbone | TransformersBackbone, workspace: Path) -> str:
    """What a conf file is to say of a backbone of this machine.

    Args:
        entry: With an absolute path.
        workspace: What a path inside of it is named relative to.
    """
    key, place = ("folder", entry.folder) if isinstance(entry, TransformersBackbone) else ("weights", entry.weights)
    place = place or Path()
    named = place.relative_to(workspace) if place.is_relative_to(workspace) else place
    # The kind first, as people write it.
    stated = {"kind": entry.kind} | entry.model_dump(mode="json", exclude_none=True) | {key: named.as_posix()}
    return yaml.safe_dump({"backbone": stated}, sort_keys=False)
