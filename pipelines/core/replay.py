"""Replays a sealed bundle's goldens: `python -m pipelines.core.replay BUNDLE` prints one line of JSON.

The gate `goldens` runs it in a fresh process, so that nothing of the training is in memory. The line is a `ReplayReport`, or
`{"error": {"code", "got", "allowed", "next_step"}}` with the error's exit code.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, JsonValue

from pipelines.core.bundle import canonical_json
from pipelines.core.errors import ConfigurationError, RegraftError
from pipelines.core.predict import Predictor, read_goldens


class ReplayReport(BaseModel):
    """A bundle that gives its stored answers.

    Attributes:
        bundle: Id.
        n_goldens: Replayed.
        largest_difference: Of a probability, over all goldens and labels.
        tolerance: Of the bundle's manifest.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    bundle: str
    n_goldens: int
    largest_difference: float
    tolerance: float


def replay(bundle: Path) -> ReplayReport:
    """Loads a bundle with all checks, and measures how far its answers are from the stored ones.

    Raises:
        IntegrityError: A hash, a tensor's shape or a golden does not match.
    """
    predictor = Predictor.load(bundle, verify=True)
    goldens = read_goldens(bundle)
    answers = predictor.predict([data for _, data in goldens])
    expected = np.array([golden.probabilities for golden, _ in goldens])
    return ReplayReport(
        bundle=predictor.bundle,
        n_goldens=len(goldens),
        largest_difference=float(np.abs(answers.probabilities - expected).max()),
        tolerance=predictor.manifest.golden_tolerance,
    )


def main(arguments: Sequence[str]) -> int:
    """Prints the report, or the error, and returns the exit code."""
    try:
        if len(arguments) != 1:
            raise ConfigurationError(
                got=f"{len(arguments)} arguments.",
                allowed="one, the bundle's folder.",
                next_step="run `python -m pipelines.core.replay BUNDLE`.",
            )
        sys.stdout.write(canonical_json(replay(Path(arguments[0])).model_dump(mode="json")).decode() + "\n")
    except RegraftError as error:
        shown: dict[str, JsonValue] = {"code": error.code, "got": error.got, "allowed": error.allowed, "next_step": error.next_step}
        sys.stdout.write(canonical_json({"error": shown}).decode() + "\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
