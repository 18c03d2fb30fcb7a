"""The model that answers, and how another one takes its place without a request noticing.

One reference is replaced; a request takes the reference once and finishes on the model it started with.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.core.errors import IntegrityError, RegraftError
from pipelines.core.request_log import log_time
from serving.pointer import pointer_signature, read_pointer

if TYPE_CHECKING:
    from pipelines.core.predict import Predictor

_log = logging.getLogger("bentoml.regraft")


@dataclass(frozen=True)
class LoadedModel:
    """A verified bundle in memory.

    Attributes:
        predictor: Answers.
        loaded_at: ISO 8601, UTC.
    """

    predictor: Predictor
    loaded_at: str


@dataclass(frozen=True)
class RefusedBundle:
    """A bundle that was asked for and not served.

    Attributes:
        bundle: Its id, where the pointer could be read.
        reason: What did not hold.
        refused_at: ISO 8601, UTC.
    """

    bundle: str | None
    reason: str
    refused_at: str


class ModelSlot:
    """Holds the model in use. `watch` and `load_packaged` fill it from a thread of their own; any thread may read it."""

    def __init__(self) -> None:
        self.current: LoadedModel | None = None
        self.refused: RefusedBundle | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, pointer: Path | None, packaged: Path, poll_seconds: float) -> None:
        """Begins to load in the background: what `pointer` names, again and again, or the packaged bundle once."""
        work = (self._load_packaged, (packaged,)) if pointer is None else (self._watch, (pointer, poll_seconds))
        self._thread = threading.Thread(target=work[0], args=work[1], name="regraft-model-slot", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends the watching; waits for a load under way."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _load_packaged(self, packaged: Path) -> None:
        self._try(packaged, expected=None)

    def _watch(self, pointer: Path, poll_seconds: float) -> None:
        seen: object = ()  # differs from every signature, so that the first round loads or says what is missing
        while not self._stop.is_set():
            # Taken before the file is read: a write in between is then seen as a change in the next round.
            signature = pointer_signature(pointer)
            if signature != seen:
                seen = signature
                self._follow(pointer)
            self._stop.wait(poll_seconds)

    def _follow(self, pointer: Path) -> None:
        try:
            target = read_pointer(pointer)
        except IntegrityError as error:
            self._refuse(None, error.got)
            return
        if self.current is not None and self.current.predictor.bundle == target.bundle:
            self.refused = None
            return
        self._try(target.path, expected=target.bundle)

    def _try(self, path: Path, expected: str | None) -> None:
        try:
            predictor = _load(path, expected)
        except RegraftError as error:
            # Shown by GET /model, where the machine's folders are nobody's business.
            self._refuse(expected, error.got.replace(f"{path}/", ""))
        except Exception as error:  # noqa: BLE001 - whatever a damaged bundle makes a library raise, the old model must go on serving
            self._refuse(expected, f"a bundle that does not load ({type(error).__name__}).")
        else:
            self.refused = None  # first: who sees the new model must not see that it was refused
            self.current = LoadedModel(predictor, log_time())
            _log.info("bundle %s is loaded, verified and serving", predictor.bundle)

    def _refuse(self, bundle: str | None, reason: str) -> None:
        self.refused = RefusedBundle(bundle, reason, log_time())
        serving = self.current.predictor.bundle if self.current is not None else "none"
        _log.error("refused bundle %s: %s Still serving: %s", bundle or "(unknown)", reason, serving)


def _load(path: Path, expected: str | None) -> Predictor:
    from pipelines.core.bundle import read_manifest
    from pipelines.core.predict import Predictor

    _, identity = read_manifest(path)
    if expected is not None and identity != expected:
        raise IntegrityError(
            got=f"a directory that holds bundle {identity} where the pointer names {expected}.",
            allowed="the bundle that the pointer names.",
            next_step="promote again with `regraft promote`.",
        )
    return Predictor.load(path, verify=True)
