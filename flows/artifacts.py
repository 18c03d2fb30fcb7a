"""What a run's page shows in Prefect: tables, text, links, pictures.

Outside a run these functions do nothing, and a server that cannot take an artifact is a warning: no training is lost for a page.
"""

from __future__ import annotations

import base64
import logging
import math
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast
from uuid import UUID

from pydantic import JsonValue

from pipelines.core.errors import RegraftError

if TYPE_CHECKING:
    from prefect.artifacts import Artifact
    from prefect.client.schemas.objects import Artifact as ArtifactResponse

_KEY = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


def publish_markdown(key: str, markdown: str, description: str | None = None) -> UUID | None:
    """Shows text on the page of the current run.

    Args:
        key: Lowercase letters, digits and dashes. Artifacts of one key are a history over runs.
        markdown: GitHub flavour.
        description: One line above it.

    Returns:
        The artifact's id; None outside a run, or where the server did not take it.

    Raises:
        RegraftError: The key is none that Prefect takes.
    """
    if not _publishes(key):
        return None
    from prefect.artifacts import MarkdownArtifact

    return _create(MarkdownArtifact(key=key, markdown=markdown, description=description))


def publish_table(key: str, rows: Sequence[Mapping[str, JsonValue]], description: str | None = None) -> UUID | None:
    """Shows a table on the page of the current run: one row per gate, per check, per domain.

    Args:
        key: See `publish_markdown`.
        rows: With the same columns; floats are shown with four significant digits.
        description: One line above it.
    """
    if not _publishes(key):
        return None
    from prefect.artifacts import TableArtifact

    table = [{name: _shown(value) for name, value in row.items()} for row in rows]
    return _create(TableArtifact(key=key, table=table, description=description))


def publish_links(key: str, targets: Mapping[str, Path | str], description: str | None = None) -> UUID | None:
    """Shows where reports lie.

    A browser does not open a `file:` link on a page that came over HTTP, so a file's path stands beside its link, to be copied.

    Args:
        key: See `publish_markdown`.
        targets: What it is called -> a file, or an address.
        description: One line above it.
    """
    lines = [_link(name, target) for name, target in targets.items()]
    return publish_markdown(key, "\n".join(lines), description)


def publish_picture(key: str, png: bytes, description: str | None = None) -> UUID | None:
    """Shows a PNG, carried in the artifact itself: Prefect shows data in a picture artifact, but not inside markdown.

    Args:
        key: See `publish_markdown`.
        png: The file's bytes.
        description: One line above it.
    """
    if not _publishes(key):
        return None
    from prefect.artifacts import ImageArtifact

    address = f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"
    return _create(ImageArtifact(key=key, image_url=address, description=description))


def publish_progress(key: str, percent: float, description: str) -> UUID | None:
    """Shows a bar on the page of the current run, to be moved with `update_progress`.

    Args:
        key: See `publish_markdown`.
        percent: 0 to 100.
        description: What is going on.
    """
    if not _publishes(key):
        return None
    from prefect.artifacts import ProgressArtifact

    return _create(ProgressArtifact(key=key, progress=percent, description=description))


def update_progress(artifact: UUID | None, percent: float, description: str) -> None:
    """Moves a bar; also from a thread that knows of no run.

    Args:
        artifact: Of `publish_progress`; None where the server did not take it: then this does nothing.
        percent: 0 to 100.
        description: What is going on.
    """
    if artifact is None:
        return
    import httpx
    from prefect.artifacts import update_progress_artifact

    try:
        update_progress_artifact(artifact, percent, description)
    except httpx.HTTPError as error:
        logging.getLogger(__name__).warning("The run's page does not show how far it is: %s", error)


def _publishes(key: str) -> bool:
    if not _KEY.fullmatch(key):
        raise RegraftError(
            got=f"the artifact key {key!r}.",
            allowed="lowercase letters, digits and single dashes between them.",
            next_step="this is a bug in Regraft: report it with this message.",
        )
    if "prefect" not in sys.modules:  # then there is no run either, and the import would cost seconds
        return False
    from prefect.context import FlowRunContext, TaskRunContext

    return FlowRunContext.get() is not None or TaskRunContext.get() is not None


def _create(artifact: Artifact) -> UUID | None:
    import httpx
    from prefect.logging import get_run_logger

    try:
        # Inside an event loop `create` would return a coroutine; Regraft's flows are not asynchronous.
        return cast("ArtifactResponse", artifact.create()).id
    except httpx.HTTPError as error:
        get_run_logger().warning("The artifact %s is missing from this run's page: %s", artifact.key, error)
        return None


def _shown(value: JsonValue) -> JsonValue:
    if isinstance(value, float):
        return float(f"{value:.4g}") if math.isfinite(value) else None
    if isinstance(value, Mapping | list):
        return str(value)
    return "" if value is None else value


def _link(name: str, target: Path | str) -> str:
    if isinstance(target, Path):
        path = target.resolve()
        return f"- [{name}]({path.as_uri()}): `{path}`"
    return f"- [{name}]({target})"
