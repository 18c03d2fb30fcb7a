"""What a training has taken so far, kept on disk: a kill gives it no new time, but for what features and the probe took."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.progress import Progress
from pipelines.staging import replace_file

_FILE = "spent.json"
# A kill loses at most this and one step.
_BETWEEN_WRITES_SECONDS = 5.0


@dataclass
class SpentTime:
    """A clock that goes on where an earlier process was killed.

    Attributes:
        folder: Of checkpoints.
        before_seconds: What earlier processes took.
        writes: Whether this process writes: the main one alone.
    """

    folder: Path
    before_seconds: float
    writes: bool
    _started: float = field(default_factory=time.monotonic)
    _written: float = -1.0

    @classmethod
    def resumed(cls, folder: Path, at_least_seconds: float, *, writes: bool) -> SpentTime:
        """Reads what earlier processes wrote.

        Args:
            folder: Of checkpoints.
            at_least_seconds: Known to have been spent from elsewhere.
            writes: Whether this process writes.
        """
        path = folder / _FILE
        known = float(json.loads(path.read_bytes())["seconds"]) if path.is_file() else 0.0
        return cls(folder, max(known, at_least_seconds), writes)

    def write(self) -> None:
        """Keeps the time so far."""
        if not self.writes:
            return
        self._written = time.monotonic()
        seconds = self.before_seconds + self._written - self._started
        replace_file(self.folder / _FILE, json.dumps({"seconds": seconds}).encode(), self.folder / "unfinished")

    def watching(self, progress: Progress) -> Progress:
        """The same progress, which keeps the time so far every few seconds."""

        def tell(activity: str, done: int, total: int) -> None:
            if time.monotonic() - self._written > _BETWEEN_WRITES_SECONDS:
                self.write()
            progress(activity, done, total)

        return tell
