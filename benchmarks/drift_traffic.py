"""Answers of an endpoint as what the monitor judges, for the benchmarks of drift detection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmarks.real_digits import Answers, as_reference, as_window
from benchmarks.real_reviews import reference_of, window_of
from monitoring.reference import Reference
from monitoring.window import Window

N_REFERENCE, N_WINDOW = 1_000, 200


@dataclass(frozen=True)
class Traffic:
    """How the answers of one endpoint become windows and references."""

    window: Callable[[Answers], Window]
    reference: Callable[[Answers], Reference]

    def drawn(self, pool: Answers, n_window: int, seed: int) -> tuple[Answers, Reference]:
        """An unchanged window and a reference without its samples, both of one pool."""
        order = np.random.default_rng(seed).permutation(len(pool.true))
        return pool.rows(order[:n_window]), self.reference(pool.rows(order[n_window : n_window + N_REFERENCE]))

    def null_pair(self, pool: Answers, seed: int) -> tuple[Window, Reference]:
        """As `drawn`, of `N_WINDOW` requests."""
        answers, reference = self.drawn(pool, N_WINDOW, seed)
        return self.window(answers), reference

    def pair(self, pool: Answers, own: Answers, n_window: int, seed: int) -> tuple[Window, Reference]:
        """A window of the pool and a reference of the own domain."""
        rng = np.random.default_rng(seed)
        window = pool.rows(rng.permutation(len(pool.true))[:n_window])
        return self.window(window), self.reference(own.rows(rng.permutation(len(own.true))[:N_REFERENCE]))


DIGITS = Traffic(as_window, as_reference)
REVIEWS = Traffic(window_of, reference_of)
