"""The stage store: content-addressed outputs, so that finished work is never done twice and nothing stale is reused.

A stage is a function `(staging directory) -> None`. Its output lives in `STORE/NAME/FINGERPRINT/`; the fingerprint covers its
configuration, the digests of its inputs and the code that makes it. It is written beside its place and renamed in.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from pipelines.code_digest import code_digest
from pipelines.core.bundle import canonical_json, install_directory

RECORD = "stage.json"


@dataclass(frozen=True)
class StageOutput:
    """A finished stage.

    Attributes:
        name: Of the stage.
        fingerprint: 64 hex digits; the input digest of the stages that read this one.
        path: Directory with the output.
        cached: Whether an earlier run had made it.
        seconds: What making it took, then or now.
    """

    name: str
    fingerprint: str
    path: Path
    cached: bool
    seconds: float


@dataclass(frozen=True)
class StageStore:
    """Outputs of stages below `root`."""

    root: Path

    def run(self, name: str, key: Mapping[str, JsonValue], module: str, make: Callable[[Path], None]) -> StageOutput:
        """Returns the output for `key`, made now if it is not there.

        Args:
            name: Of the stage, a folder name.
            key: Configuration and input digests: everything that the output depends on besides the code.
            module: The module whose code makes the output.
            make: Writes the output into the directory it is given. If it raises, nothing is kept.
        """
        fingerprint = stage_fingerprint(name, key, module)
        target = self.root / name / fingerprint
        if not is_complete(target):
            seconds = self._make(target, key, make)
            return StageOutput(name, fingerprint, target, cached=False, seconds=seconds)
        seconds = json.loads((target / RECORD).read_bytes())["seconds"]
        return StageOutput(name, fingerprint, target, cached=True, seconds=seconds)

    def _make(self, target: Path, key: Mapping[str, JsonValue], make: Callable[[Path], None]) -> float:
        if target.exists():  # files of it were lost: it cannot be trusted, and it can be made again
            shutil.rmtree(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{target.name[:12]}-", dir=target.parent))
        started = time.perf_counter()
        try:
            make(staging)
            seconds = round(time.perf_counter() - started, 3)
            (staging / RECORD).write_bytes(canonical_json({"key": dict(key), "seconds": seconds, "files": _file_sizes(staging)}))
            install_directory(staging, target)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        return seconds


def stage_fingerprint(name: str, key: Mapping[str, JsonValue], module: str) -> str:
    """sha256 over the stage's name, its key and its code."""
    return hashlib.sha256(canonical_json({"stage": name, "key": dict(key), "code": code_digest(module)})).hexdigest()


def is_complete(output: Path) -> bool:
    """Whether a stage's output is there with every file at its recorded size."""
    record = output / RECORD
    return record.is_file() and json.loads(record.read_bytes())["files"] == _file_sizes(output)


def _file_sizes(folder: Path) -> dict[str, JsonValue]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != RECORD)
    return {str(path.relative_to(folder)): path.stat().st_size for path in files}
