"""Steps after training: averages of weights that validation chooses.

Integer buffers (counters) cannot be averaged and are taken as they are; batch-norm statistics are averaged like weights. Means are
computed in float64, so tensors that are equal in all states stay the same to the bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from pydantic import JsonValue

if TYPE_CHECKING:
    import torch

StateDict = Mapping[str, "torch.Tensor"]
# A state's loss on the validation split: lower is better; NaN counts as infinite.
Evaluate = Callable[[StateDict], float]

N_WISE_FT_STEPS = 10


class States(Protocol):
    """Weights by number, which may be read from disk when asked for: together they may not fit into memory."""

    def __len__(self) -> int:
        """How many."""

    def __getitem__(self, number: int, /) -> StateDict:
        """Those with this number."""


def greedy_soup(states: States, losses: Sequence[float], evaluate: Evaluate) -> tuple[StateDict, dict[str, JsonValue]]:
    """The mean of some of the states, never worse on validation than the best of them.

    Wortsman et al. 2022, https://arxiv.org/abs/2203.05482: from the best state down, each is added to the mean if validation does not get
    worse by it. We differ in taking the epochs of one training, not trainings with other settings.

    Args:
        states: At least one, all with the same names and shapes; each is asked for once, and let go before the next.
        losses: Of each on validation.
        evaluate: Measures a mean.

    Returns:
        The mean, and which states are in it (`ingredients`, in the order they were added), its `log_loss`, `n_tried`.
    """
    order = sorted(range(len(states)), key=lambda number: (_ordered(losses[number]), number))
    chosen, soup, best = [order[0]], _Soup(states[order[0]]), _ordered(losses[order[0]])
    for number in order[1:]:
        state = states[number]
        loss = _ordered(evaluate(soup.mean_with(state)))
        if math.isfinite(loss) and loss <= best:
            soup.add(state)
            chosen, best = [*chosen, number], loss
        del state
    return soup.mean(), {"ingredients": list[JsonValue](chosen), "log_loss": _json_number(best), "n_tried": len(states)}


def wise_ft(start: StateDict, end: StateDict, evaluate: Evaluate) -> tuple[StateDict, dict[str, JsonValue]]:
    """The point between the weights before and after training that is best on validation, both ends included.

    Wortsman et al. 2021, https://arxiv.org/abs/2109.01903: (1 - alpha) * start + alpha * end. We differ in choosing alpha on validation,
    from 0, 0.1, ... to 1; of equals the one nearest to the start.

    Args:
        start: Before training.
        end: After it, with the same names and shapes.
        evaluate: Measures a point.

    Returns:
        The point, and its `alpha`, its `log_loss` and the `path` of all that were measured.
    """
    points = [(step / N_WISE_FT_STEPS) for step in range(N_WISE_FT_STEPS + 1)]
    losses = [_ordered(evaluate(interpolate(start, end, alpha))) for alpha in points]
    loss, alpha = min(zip(losses, points, strict=True))
    path: list[JsonValue] = [{"alpha": point, "log_loss": _json_number(value)} for point, value in zip(points, losses, strict=True)]
    return interpolate(start, end, alpha), {"alpha": alpha, "log_loss": _json_number(loss), "path": path}


def interpolate(start: StateDict, end: StateDict, alpha: float) -> StateDict:
    """(1 - alpha) * start + alpha * end; integers are the end's unless alpha is 0. At 0 and at 1 exactly the ends."""
    if alpha in (0.0, 1.0):
        return end if alpha else start
    return {
        name: (tensor.double() * (1 - alpha) + end[name].double() * alpha).to(tensor.dtype) if tensor.is_floating_point() else end[name]
        for name, tensor in start.items()
    }


class _Soup:
    """The sum of some states in float64, whatever their number; integers are those of the first."""

    def __init__(self, first: StateDict) -> None:
        self._dtypes = {name: tensor.dtype for name, tensor in first.items()}
        self._sums = {name: tensor.double().clone() if tensor.is_floating_point() else tensor for name, tensor in first.items()}
        self._n = 1

    def add(self, state: StateDict) -> None:
        for name, total in self._sums.items():
            if total.is_floating_point():
                total.add_(state[name])
        self._n += 1

    def mean(self) -> StateDict:
        return {name: self._divided(name, total, self._n) for name, total in self._sums.items()}

    def mean_with(self, state: StateDict) -> StateDict:
        """Of the states and one more, which is not added."""
        return {
            name: self._divided(name, total + state[name] if total.is_floating_point() else total, self._n + 1)
            for name, total in self._sums.items()
        }

    def _divided(self, name: str, total: torch.Tensor, n: int) -> torch.Tensor:
        return (total / n).to(self._dtypes[name]) if total.is_floating_point() else total


def _ordered(loss: float) -> float:
    return math.inf if math.isnan(loss) else loss


def _json_number(value: float) -> float | None:
    return value if math.isfinite(value) else None
