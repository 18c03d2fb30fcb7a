"""A BentoML monitor that keeps JSON lines whole.

BentoML's own monitor writes all monitors of a process into the file of the one that logged last (they share one logger), renames a
column `request_id`, adds the local time without a zone, and drops lines that it cannot write; so this one takes its place, as
BentoML's documentation describes (https://docs.bentoml.com/en/latest/build-with-bentoml/observability/monitoring-and-data-collection.html).
"""

from __future__ import annotations

import os
import threading
from collections import deque
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bentoml.monitoring import MonitorBase

from pipelines.core.bundle import canonical_json


class JsonLinesMonitor(MonitorBase[Any]):  # type: ignore[misc] # bentoml has no types
    """Appends each record as one line to `FOLDER/DAY.jsonl`, the UTC day of writing.

    All records of one exchange go to the operating system in one write before `bentoml.monitor` returns: killing the process
    loses none that was answered, a power cut may lose the last seconds. Several processes may append to one file.

    Args:
        name: Of the monitor; BentoML keeps one object for each name and process.
        folder: Made where it is missing.
    """

    def __init__(self, name: str, folder: str, **_: Any) -> None:
        super().__init__(name)
        self._folder = Path(folder)
        self._lock = threading.Lock()
        self._day = ""
        self._descriptor = -1

    def export_schema(self, columns_schema: dict[str, dict[str, str]]) -> None:
        """Writes `FOLDER/schema.json`, what BentoML knows of the columns; once for each process."""
        self._folder.mkdir(parents=True, exist_ok=True)
        staging = self._folder / f".schema-{os.getpid()}.json"
        staging.write_bytes(canonical_json([dict(column) for column in columns_schema.values()]))
        staging.replace(self._folder / "schema.json")

    def export_data(self, datas: dict[str, deque[Any]]) -> None:
        """Appends the records.

        Raises:
            OSError: They could not be written, or only in part; the next line starts on a line of its own.
        """
        rows = zip(*datas.values(), strict=True)
        lines = b"".join(canonical_json(dict(zip(datas, row, strict=True))) + b"\n" for row in rows)
        with self._lock:
            try:
                n_written = os.write(self._open_today(), lines)
                if n_written < len(lines):
                    raise OSError(f"only {n_written} of {len(lines)} bytes could be written to the log")
            except OSError:
                self._close()  # opened anew, the file shows a torn line
                raise

    def _open_today(self) -> int:
        day = datetime.now(UTC).strftime("%Y-%m-%d")
        if day != self._day or self._descriptor < 0 or os.fstat(self._descriptor).st_nlink == 0:  # deleted under us
            self._close()
            self._folder.mkdir(parents=True, exist_ok=True)
            path = self._folder / f"{day}.jsonl"
            # Append mode: the system moves to the end and writes in one step, also with other writers.
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
            self._day = day
            _end_torn_line(self._descriptor)
        return self._descriptor

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1


def _end_torn_line(descriptor: int) -> None:
    size = os.fstat(descriptor).st_size
    if size and os.pread(descriptor, 1, size - 1) != b"\n":
        os.write(descriptor, b"\n")
