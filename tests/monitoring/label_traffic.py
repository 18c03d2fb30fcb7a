"""Traffic of a bundle whose answers name any number of three labels."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitoring.reference import Reference
from monitoring.window import Window
from pipelines.core.label_sets import set_texts
from pipelines.core.signals import IMAGE_STATISTICS

BUNDLE = "5e75000000005e75"
LABELS = ("cat", "dog", "owl")
THRESHOLDS = (0.5, 0.3, 0.6)
# Labels that come together: independent tests of each would not be independent.
_COMMON = 0.6


def draw_chances(rng: np.random.Generator, n: int, rates: tuple[float, float, float] = (0.4, 0.2, 0.05)) -> NDArray[np.float64]:
    """Calibrated probabilities [n, 3] whose labels are correlated; `rates` moves each of them."""
    shared = rng.normal(size=(n, 1))
    scores = _COMMON * shared + np.sqrt(1 - _COMMON**2) * rng.normal(size=(n, 3))
    return np.asarray(1 / (1 + np.exp(-3 * (scores + np.log(np.array(rates) / (1 - np.array(rates)))))))


def lines(rng: np.random.Generator, chances: NDArray[np.float64]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Lines of the request log, and of the feedback log with true sets that are drawn from the probabilities."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    answered = set_texts(chances >= np.array(THRESHOLDS), LABELS)
    true = set_texts(rng.random(chances.shape) < chances, LABELS)
    requests, feedback = [], []
    for place, row in enumerate(chances.tolist()):
        moment = (start + timedelta(seconds=place)).isoformat()
        requests.append(
            {
                "request_id": f"r{place:05d}",
                "time": moment,
                "bundle": BUNDLE,
                "label": answered[place],
                "probabilities": [float(f"{value:.6g}") for value in row],
                "embedding": rng.normal(size=4).tolist(),
                "statistics": rng.normal(size=6).tolist(),
                "domain": "default",
            }
        )
        feedback.append({"request_id": f"r{place:05d}", "label": true[place], "time": moment})
    return requests, feedback


def draw_window(seed: int, n: int, rates: tuple[float, float, float] = (0.4, 0.2, 0.05)) -> Window:
    rng = np.random.default_rng([seed, 1])
    return Window.from_lines(*lines(rng, draw_chances(rng, n, rates)), BUNDLE, LABELS, n, THRESHOLDS)


def draw_reference(seed: int, n: int = 400) -> Reference:
    rng = np.random.default_rng([seed, 2])
    chances = draw_chances(rng, n)
    truth = rng.random(chances.shape) < chances
    return Reference(
        bundle=BUNDLE,
        labels=LABELS,
        embeddings=rng.normal(size=(n, 4)),
        probabilities=chances.astype(np.float32).astype(np.float64),
        statistics=rng.normal(size=(n, 6)),
        correct=((chances >= np.array(THRESHOLDS)) == truth).all(axis=1),
        true_indices=truth.astype(np.int64),
        domains=frozenset({"default"}),
        thresholds=THRESHOLDS,
        named_statistics=IMAGE_STATISTICS,
    )
