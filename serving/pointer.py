"""The pointer: a JSON file that names the bundle an endpoint serves. Promotion replaces it in one step, the endpoint watches it."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipelines.core.bundle import canonical_json
from pipelines.core.errors import IntegrityError


class Pointer(BaseModel):
    """What a pointer file says.

    Attributes:
        bundle: Id of the bundle.
        path: Its directory; a relative one counts from the pointer file's folder.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    bundle: Annotated[str, Field(pattern="^[0-9a-f]{16}$")]
    path: Annotated[str, Field(min_length=1)]


@dataclass(frozen=True)
class PointedBundle:
    """A bundle that a pointer names.

    Attributes:
        bundle: Id that the directory must have.
        path: Directory of the bundle.
    """

    bundle: str
    path: Path


def write_pointer(file: Path, bundle: str, path: Path) -> None:
    """Makes `file` name a bundle, in one step: a reader sees the old content or the new one, also after a crash.

    Args:
        file: The pointer file; its folder is made where it is missing.
        bundle: Id of the bundle, which must lie complete in `path` already.
        path: Directory of the bundle.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    content = canonical_json(Pointer(bundle=bundle, path=str(path)).model_dump())
    descriptor, staging = tempfile.mkstemp(prefix=f".{file.name}-", dir=file.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        Path(staging).replace(file)
    finally:
        Path(staging).unlink(missing_ok=True)


def read_pointer(file: Path) -> PointedBundle:
    """Reads a pointer file.

    Raises:
        IntegrityError: It is missing, or no pointer.
    """
    try:
        pointer = Pointer.model_validate(json.loads(file.read_bytes()))
    except (OSError, ValueError, RecursionError) as error:
        raise IntegrityError(
            got=f"the pointer file {file.name}, which {_problem(error)}.",
            allowed='a file like {"bundle": "0123456789abcdef", "path": "bundles/0123456789abcdef"}.',
            next_step="promote a bundle with `regraft promote`, which writes the file.",
        ) from error
    return PointedBundle(pointer.bundle, file.parent.absolute() / pointer.path)


def pointer_signature(file: Path) -> tuple[int, int, int] | None:
    """What changes whenever the pointer is written again, also with the same content: (inode, time, size); None without a file."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def _problem(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"cannot be read ({type(error).__name__})"
    return "has wrong entries" if isinstance(error, ValidationError) else "is no JSON"
