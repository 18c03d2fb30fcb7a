"""What every contender is given and gives back: files, labels and weights, as JSON; standard library only, for both environments."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Weights:
    """Pretrained weights and how images go in."""

    architecture: str
    model_args: dict[str, object]
    in_channels: int
    weights: str
    mean: list[float]
    std: list[float]
    side_px: int


@dataclass(frozen=True)
class Job(Weights):
    """One draw of one dataset. Paths are absolute; a row is a path and a label.

    Attributes:
        budget_seconds: What a contender with a budget may use; the others ignore it.
        flips: Whether a mirrored image keeps its label.
    """

    labels: list[str]
    train: list[list[str]]
    validation: list[list[str]]
    test: list[list[str]]
    seed: int
    n_threads: int
    flips: bool
    budget_seconds: float


@dataclass(frozen=True)
class Outcome:
    """Test accuracy, and seconds from the list of files to the trained model."""

    accuracy: float
    seconds: float
    note: str = ""


def run_contender(contend: Callable[[Job, Path], Outcome]) -> None:
    """Takes jobs until there are no more: the path of each is a line of standard input; the outcome is written beside it, then said.

    One process does all of a contender's jobs, so its imports are done when a clock starts. What libraries print goes to standard error.
    """
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        path = Path(line.rstrip("\n"))
        outcome = contend(Job(**json.loads(path.read_text())), path.parent)
        path.with_suffix(".outcome.json").write_text(json.dumps(asdict(outcome)))
        print(path, file=answers, flush=True)
