"""How long a training waits for others on its device, and what it is called while others wait for it."""

from __future__ import annotations

import time
from dataclasses import dataclass

from pipelines.core.errors import ConflictError


@dataclass(frozen=True)
class Wait:
    """Of one training, for all locks together.

    Attributes:
        minutes: In all.
        ends_at: On the monotonic clock.
        name: Of the training, for those who wait for it.
    """

    minutes: float
    ends_at: float
    name: str

    @classmethod
    def of(cls, minutes: float, name: str) -> Wait:
        """One that begins now."""
        return cls(minutes, time.monotonic() + 60 * minutes, name)

    @property
    def left_seconds(self) -> float:
        """At least 0."""
        return max(0.0, self.ends_at - time.monotonic())

    def in_words(self, what: str, holder: str) -> str:
        """For the log of the one that waits."""
        return f"{holder} holds {what}, so this one waits for its turn: up to {self.left_seconds / 60:.3g} minutes more."

    def over(self, what: str, holder: str) -> ConflictError:
        """It was in vain."""
        return ConflictError(
            got=f"another training that has held {what} for the {self.minutes:g} minutes that this one waited: {holder}.",
            allowed="one training at a time on one device.",
            next_step="wait for its end and start this run again, or give it more time with operation.device_wait_minutes.",
        )
