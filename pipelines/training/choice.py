"""Which of several tried ways is kept: the simplest that evidence cannot tell from the best (Breiman et al. 1984, section 3.4.3).

The evidence is the log loss of each validation sample. We differ from the textbook's rule in the standard error: ways are measured on the
same samples, so it is that of the paired differences, which is far smaller than that of each loss alone.

Letters for shapes: n validation samples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.intervals import one_sided_bounds
from pipelines.training.validation import ValidationResult

# A gain of accuracy that is not worth a training.
NEGLIGIBLE_ERROR = 0.01
# Share of a normal distribution below its mean plus one standard error.
ONE_STANDARD_ERROR = 0.8413


@dataclass(frozen=True)
class Way:
    """Something that was tried.

    Attributes:
        name: For people.
        complexity: A simpler one is lower; of equals the better one counts as simpler, then the one that was tried first.
        result: On validation; of all ways on the same samples.
    """

    name: str
    complexity: int
    result: ValidationResult

    @property
    def is_usable(self) -> bool:
        """Whether every loss is finite."""
        return math.isfinite(self.result.log_loss) and bool(np.isfinite(self.result.losses).all())


@dataclass(frozen=True)
class Comparison:
    """How much lower the log loss of one way is than another's, on the same n samples.

    Attributes:
        gain: Mean paired difference in nats.
        standard_error: Of that mean; infinite for one sample, which shows nothing.
    """

    gain: float
    standard_error: float

    @property
    def is_shown(self) -> bool:
        """Whether the gain is more than one standard error."""
        return self.gain > self.standard_error

    def __str__(self) -> str:
        error = f"{self.standard_error:.3g}" if math.isfinite(self.standard_error) else "unknown"
        return f"{self.gain:.3g} ± {error} log loss"


@dataclass(frozen=True)
class Verdict:
    """What became of one way.

    Attributes:
        is_kept: True for exactly one.
        against_best: What the best way gains over this one; None for the best itself and for what cannot be compared.
        reason: One sentence.
    """

    is_kept: bool
    against_best: Comparison | None
    reason: str


@dataclass(frozen=True)
class Choice:
    """Attributes are in the order of the ways.

    Attributes:
        kept: Place of the kept way.
        verdicts: One for each way.
        reason: One sentence with the kept way's name.
    """

    kept: int
    verdicts: tuple[Verdict, ...]
    reason: str


def paired(simpler: NDArray[np.float64], other: NDArray[np.float64]) -> Comparison:
    """What `other` gains over `simpler`; both finite [n]."""
    differences = simpler - other
    n = len(differences)
    error = float(differences.std(ddof=1)) / math.sqrt(n) if n > 1 else math.inf
    return Comparison(float(differences.mean()), error)


def nothing_to_gain(result: ValidationResult) -> str | None:
    """Why no further way is worth its time; None where one may be.

    One standard error above the error rate on validation (one-sided, exact) is still below `NEGLIGIBLE_ERROR`: a perfect model would gain
    less. The log loss cannot say this: whatever it is, a model without any loss beats it by one standard error.
    """
    n = len(result.correct)
    n_wrong = n - int(result.correct.sum())
    if n == 1:
        return "one validation sample can show no gain"
    highest = one_sided_bounds(n_wrong, n, ONE_STANDARD_ERROR).high
    if highest >= NEGLIGIBLE_ERROR:
        return None
    return (
        f"{n_wrong} of {n} validation samples are wrong: the error rate is below {100 * NEGLIGIBLE_ERROR:g} % by one standard error, "
        "so even a perfect model would gain less"
    )


def choose(ways: Sequence[Way], floor: int | None = None, simpler: str = "simpler") -> Choice:
    """Keeps the simplest way within one standard error of the best.

    A way with a higher log loss or a lower accuracy than the floor is never kept, nor is one with a loss that is not finite as long as
    there is another; the floor itself may always be. The best is the one of the rest with the lowest log loss, of equals the simplest.

    Args:
        ways: At least one.
        floor: Place of the way that the result must not end worse than, the linear probe; None: there is no such way.
        simpler: What a way of lower complexity is called in reasons.
    """
    problems = [_problem(way, None if floor is None else ways[floor]) for way in ways]
    admitted = [place for place in _from_simplest(ways) if place == floor or problems[place] is None] or _from_simplest(ways)[:1]
    best = min(admitted, key=lambda place: _log_loss(ways[place]))
    against_best = {place: _compare(ways[place], ways[best]) for place in admitted if place != best}
    kept = next(place for place in admitted if place == best or not _is_told_apart(against_best[place]))
    verdicts = []
    for place in range(len(ways)):
        if place == kept:
            passed_over = [(ways[other], against_best[other]) for other in admitted[: admitted.index(kept)]]
            reason = _why_kept(ways[best], against_best.get(kept), passed_over, simpler)
        elif place in admitted:
            reason = f"no {simpler} than {ways[kept].name}, and not shown to be better"
            if admitted.index(place) < admitted.index(kept):
                reason = _why_passed_over(against_best.get(place))
        else:
            reason = problems[place] or ""
        verdicts.append(Verdict(place == kept, against_best.get(place), reason))
    return Choice(kept, tuple(verdicts), f"kept {ways[kept].name}: {verdicts[kept].reason}")


def _from_simplest(ways: Sequence[Way]) -> list[int]:
    return sorted(range(len(ways)), key=lambda place: (ways[place].complexity, _log_loss(ways[place]), place))


def _log_loss(way: Way) -> float:
    return way.result.log_loss if way.is_usable else math.inf


def _problem(way: Way, floor: Way | None) -> str | None:
    if not way.is_usable:
        return "its validation loss is not finite"
    if floor is None:
        return None
    if floor.is_usable and way.result.log_loss > floor.result.log_loss:
        return f"worse than {floor.name} on validation: log loss {way.result.log_loss:.4g} against {floor.result.log_loss:.4g}"
    if way.result.accuracy < floor.result.accuracy:
        return (
            f"worse than {floor.name} on validation: accuracy {100 * way.result.accuracy:.2f} % against {100 * floor.result.accuracy:.2f} %"
        )
    return None


def _compare(way: Way, best: Way) -> Comparison | None:
    return paired(way.result.losses, best.result.losses) if way.is_usable and best.is_usable else None


def _is_told_apart(comparison: Comparison | None) -> bool:
    # Without a comparison one of the two has no finite loss: the best is the other one.
    return comparison is None or comparison.is_shown


def _why_kept(best: Way, comparison: Comparison | None, passed_over: Sequence[tuple[Way, Comparison | None]], simpler: str) -> str:
    if comparison is not None:
        return f"{best.name} is better by {comparison}, no more than one standard error"
    # The strongest of the simpler ways says the most.
    left = min(((other, gain) for other, gain in passed_over if gain is not None), key=lambda pair: pair[1].gain, default=None)
    if left is not None:
        return f"it is better than {left[0].name} by {left[1]}, more than one standard error"
    return f"nothing else that was tried is better or {simpler}"


def _why_passed_over(comparison: Comparison | None) -> str:
    return f"the best one is better by {comparison}, more than one standard error" if comparison else "its validation loss is not finite"
