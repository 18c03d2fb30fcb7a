"""Excerpts of requests whose raw bytes were kept, to be put into a page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.excerpts import Excerpt, excerpt_of

if TYPE_CHECKING:
    from pipelines.core.modalities.modality import Modality


def kept_excerpt(raw: Path, name: str, modality: Modality) -> Excerpt | None:
    """What a page can show of a kept input; nothing where the bytes are gone or are no input.

    Args:
        raw: Folder of the kept inputs.
        name: sha256 of the bytes, by the request log.
        modality: Of the bundle, with its limits.
    """
    path = raw / name
    return excerpt_of(path.read_bytes(), modality) if path.name == name and path.is_file() else None
