"""What every contender is given and gives back, as JSON; standard library only, for the peers' environment too."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar


@dataclass(frozen=True)
class Draw:
    """Samples of one draw, each with its label: an absolute path, or a text.

    Attributes:
        budget_seconds: What a contender with a budget may use; the others ignore it.
    """

    labels: list[str]
    train: list[list[str]]
    validation: list[list[str]]
    test: list[list[str]]
    seed: int
    n_threads: int
    budget_seconds: float


@dataclass(frozen=True)
class Outcome:
    """Of one contender on one draw.

    Attributes:
        accuracy: On the test samples.
        seconds: From the list of samples to the trained model, by the clock on the wall.
        cpu_seconds: Of the processor, in all threads: on a machine that other jobs share, what a contender took itself.
    """

    accuracy: float
    seconds: float
    cpu_seconds: float
    note: str = ""


class Stopwatch:
    """Begins when it is made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def read(self) -> tuple[float, float]:
        """Seconds by the clock on the wall, and of the processor."""
        return time.perf_counter() - self._wall, time.process_time() - self._cpu


AnyDraw = TypeVar("AnyDraw", bound=Draw)


def run_contender(kind: Callable[..., AnyDraw], contend: Callable[[AnyDraw, Path], Outcome]) -> None:
    """Takes jobs until there are no more: the path of each is a line of standard input; the outcome is written beside it, then said.

    One process does all of a contender's jobs, so its imports are done when a clock starts. What libraries print goes to standard error.
    """
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        path = Path(line.rstrip("\n"))
        outcome = contend(kind(**json.loads(path.read_text())), path.parent)
        path.with_suffix(".outcome.json").write_text(json.dumps(asdict(outcome)))
        print(path, file=answers, flush=True)
