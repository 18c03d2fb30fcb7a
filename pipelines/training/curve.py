"""The training curve: how good the network was after each epoch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Epoch:
    """One row of the training curve. Epoch 0 is the start, before any step.

    Attributes:
        train_loss: Mean loss of the objective, what pulls the weights to their start left out; None at the start.
        validation_log_loss: At the temperature that suits it best: what would ship after calibration. Infinite where the network
            overflows.
        validation_accuracy: In [0, 1].
    """

    number: int
    train_loss: float | None
    validation_log_loss: float
    validation_accuracy: float

    def as_row(self) -> dict[str, int | float | None]:
        """For JSON, which has no infinity."""
        return {name: value if value is None or math.isfinite(value) else None for name, value in asdict(self).items()}


def best_epoch(curve: Sequence[Epoch]) -> int:
    """The number of the first epoch with the lowest validation log loss."""
    return min(curve, key=lambda epoch: (epoch.validation_log_loss, epoch.number)).number


def stops_early(curve: Sequence[Epoch], patience_epochs: int | None, counted_from: int = 0) -> bool:
    """Whether as many epochs as `patience_epochs` went by without a better one.

    Args:
        curve: Epoch 0 first.
        patience_epochs: Nothing: never.
        counted_from: No epoch before this one counts as one without gain.
    """
    if patience_epochs is None:
        return False
    return curve[-1].number - max(best_epoch(curve), counted_from) >= patience_epochs
