"""The stage store: content-addressed outputs, so that finished work is never done twice and nothing stale is reused.

A stage is a function `(staging directory) -> None`. Its output lives in `STORE/NAME/FINGERPRINT/`; the fingerprint covers its
configuration, the digests of its inputs and the code that makes it. It is written beside its place and renamed in. Whoever makes or
removes an output holds its lock, so that two processes that want the same work do it once.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from pipelines.code_digest import code_digest
from pipelines.core.bundle import canonical_json
from pipelines.exclusive import exclusive, if_free, is_abandoned
from pipelines.staging import staged_folder

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
            with exclusive(self.lock(name, fingerprint)):
                if not is_complete(target):  # another process may have made it in the meantime
                    return StageOutput(name, fingerprint, target, cached=False, seconds=self._make(target, key, make))
        seconds = json.loads((target / RECORD).read_bytes())["seconds"]
        return StageOutput(name, fingerprint, target, cached=True, seconds=seconds)

    def _make(self, target: Path, key: Mapping[str, JsonValue], make: Callable[[Path], None]) -> float:
        self._sweep(target)
        if target.exists():  # files of it were lost: it cannot be trusted, and it can be made again
            shutil.rmtree(target)
        started = time.perf_counter()
        with staged_folder(target) as staging:
            make(staging)
            seconds = round(time.perf_counter() - started, 3)
            (staging / RECORD).write_bytes(canonical_json({"key": dict(key), "seconds": seconds, "files": _file_sizes(staging)}))
        return seconds

    def _sweep(self, target: Path) -> None:
        """Removes what killed processes left: all that was begun for `target`, whose lock is held, and old work whose lock is free."""
        for staging in target.parent.glob(".*-*"):
            fingerprint = staging.name[1:].rpartition("-")[0]
            if fingerprint == target.name:
                shutil.rmtree(staging, ignore_errors=True)
            elif is_abandoned(staging):
                with if_free(self.lock(target.parent.name, fingerprint)) as free:
                    if free:
                        shutil.rmtree(staging, ignore_errors=True)

    def lock(self, name: str, fingerprint: str) -> Path:
        """The file that whoever makes this output holds locked meanwhile."""
        return self.root / ".locks" / f"{name}-{fingerprint}"


def stage_fingerprint(name: str, key: Mapping[str, JsonValue], module: str) -> str:
    """sha256 over the stage's name, its key and its code."""
    return hashlib.sha256(canonical_json({"stage": name, "key": dict(key), "code": code_digest(module)})).hexdigest()


def is_complete(output: Path) -> bool:
    """Whether a stage's output is there with every file at its recorded size."""
    try:
        return bool(json.loads((output / RECORD).read_bytes())["files"] == _file_sizes(output))
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError):  # never made, or being removed by the one who holds its lock
        return False


def _file_sizes(folder: Path) -> dict[str, JsonValue]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != RECORD)
    return {str(path.relative_to(folder)): path.stat().st_size for path in files}
