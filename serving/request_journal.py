"""Writes the request log, the feedback log and the raw inputs that were drawn for keeping."""

from __future__ import annotations

import contextvars
import hashlib
import logging
import os
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipelines.core.request_log import FEEDBACK, REQUESTS, log_time

if TYPE_CHECKING:
    from pipelines.core.predict import Predictions
    from serving.schemas import Feedback

_log = logging.getLogger("bentoml.regraft")
_PROBABILITY_DIGITS = 6
_SIGNAL_DIGITS = 5

# Role and type of each column, in BentoML's words.
_REQUEST_COLUMNS = {
    "request_id": ("feature", "categorical"),
    "time": ("feature", "categorical"),
    "bundle": ("feature", "categorical"),
    "label": ("prediction", "categorical"),
    "probabilities": ("prediction", "numerical_sequence"),
    "embedding": ("feature", "numerical_sequence"),
    "statistics": ("feature", "numerical_sequence"),
    "domain": ("feature", "categorical"),
    "raw_sha256": ("feature", "categorical"),
}
_FEEDBACK_COLUMNS = {"request_id": ("feature", "categorical"), "label": ("target", "categorical"), "time": ("feature", "categorical")}


class RequestJournal:
    """The logs of one endpoint.

    A line that cannot be written (a full disk) does not cost the client its answer: it is counted, and said in the server's log once
    for each run of failures.

    Args:
        log_dir: None: nothing is logged.
        raw_dir: Where raw inputs are kept.
        sample_raw_frac: Share of them, in [0, 1].
    """

    def __init__(self, log_dir: Path | None, raw_dir: Path | None, sample_raw_frac: float) -> None:
        self._log_dir = log_dir
        self._raw_dir = raw_dir
        self._sample_raw_frac = sample_raw_frac
        self._lock = threading.Lock()
        self._failing = False
        self.n_failures = 0

    @property
    def enabled(self) -> bool:
        """Whether there is a log at all."""
        return self._log_dir is not None

    def log_predictions(self, ids: Sequence[str], answers: Predictions, domain: str, inputs: Sequence[bytes]) -> bool:
        """Logs one line for each sample; returns whether all of them are in the log."""
        n = len(ids)
        columns: dict[str, Sequence[Any]] = {
            "request_id": ids,
            "time": [log_time()] * n,
            "bundle": [answers.bundle] * n,
            "label": answers.labels,
            "probabilities": rounded(answers.probabilities, _PROBABILITY_DIGITS),
            "embedding": rounded(answers.embeddings, _SIGNAL_DIGITS),
            "statistics": rounded(answers.statistics, _SIGNAL_DIGITS),
            "domain": [domain] * n,
            # Kept before the line is written: a line never names a file that is not there.
            "raw_sha256": [self._keep_raw(identity, data) for identity, data in zip(ids, inputs, strict=True)],
        }
        return self._write(REQUESTS, columns, _REQUEST_COLUMNS)

    def log_feedback(self, feedback: Sequence[Feedback]) -> bool:
        """Logs one line for each piece; returns whether all of them are in the log."""
        columns: dict[str, Sequence[Any]] = {
            "request_id": [item.id for item in feedback],
            "label": [item.label for item in feedback],
            "time": [log_time()] * len(feedback),
        }
        return self._write(FEEDBACK, columns, _FEEDBACK_COLUMNS)

    def _write(self, kind: str, columns: dict[str, Sequence[Any]], roles: dict[str, tuple[str, str]]) -> bool:
        if self._log_dir is None:
            return False
        try:
            # BentoML keeps an open record in a context variable and leaves it behind when writing fails: each record gets an empty context.
            contextvars.Context().run(_record, self._log_dir / kind, columns, roles)
        except OSError as error:
            self._count_failure(f"the {kind} log cannot be written ({error.strerror or error})")
            return False
        self._failing = False
        return True

    def _keep_raw(self, identity: str, data: bytes) -> str | None:
        if self._raw_dir is None or not is_sampled(identity, self._sample_raw_frac):
            return None
        digest = hashlib.sha256(data).hexdigest()
        try:
            _write_once(self._raw_dir / digest, data)
        except OSError as error:
            self._count_failure(f"raw inputs cannot be kept ({error.strerror or error})")
            return None
        return digest

    def _count_failure(self, problem: str) -> None:
        with self._lock:
            self.n_failures += 1
            was_failing, self._failing = self._failing, True
        if not was_failing:
            _log.error("%s; requests are answered all the same", problem)


def _record(folder: Path, columns: dict[str, Sequence[Any]], roles: dict[str, tuple[str, str]]) -> None:
    import bentoml

    from serving.json_lines_monitor import JsonLinesMonitor

    # The folder is part of the name because BentoML keeps the first monitor of a name for the life of the process.
    with bentoml.monitor(str(folder.absolute()), monitor_class=JsonLinesMonitor, monitor_options={"folder": str(folder)}) as monitor:
        for name, values in columns.items():
            role, kind = roles[name]
            monitor.log_batch(values, name=name, role=role, data_type=kind)


def is_sampled(identity: str, frac: float) -> bool:
    """Whether a sample's raw bytes are kept: decided by a hash of its id, so that it can be told again later."""
    drawn = int.from_bytes(hashlib.sha256(identity.encode()).digest()[:8], "big") / 2**64
    return drawn < frac


def rounded(values: NDArray[np.floating], n_digits: int) -> list[list[float]]:
    """Rows of numbers, [b, n], with `n_digits` significant digits: a short line that still tells what the signals need."""
    return [[float(f"{value:.{n_digits}g}") for value in row] for row in values.tolist()]


def _write_once(path: Path, content: bytes) -> None:
    if path.exists():  # named by its content
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, staging = tempfile.mkstemp(prefix=".", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
        Path(staging).replace(path)
    finally:
        Path(staging).unlink(missing_ok=True)
