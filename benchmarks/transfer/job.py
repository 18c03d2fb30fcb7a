"""What every contender is given and gives back: files, labels and weights, as JSON; standard library only, for both environments."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Job:
    """One draw of one dataset. Paths are absolute; a row is a path and a label.

    Attributes:
        budget_seconds: What a contender with a budget may use; the others ignore it.
        flips: Whether a mirrored image keeps its label.
    """

    labels: list[str]
    train: list[list[str]]
    validation: list[list[str]]
    test: list[list[str]]
    architecture: str
    model_args: dict[str, object]
    in_channels: int
    weights: str
    mean: list[float]
    std: list[float]
    side_px: int
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
    """`python CONTENDER.py JOB.json`: reads the job, writes the outcome beside it. Imports are done when the clock starts."""
    path = Path(sys.argv[1])
    job = Job(**json.loads(path.read_text()))
    outcome = contend(job, path.parent)
    path.with_suffix(".outcome.json").write_text(json.dumps(asdict(outcome)))
