"""Counters beside BentoML's own, at GET /metrics."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client import Counter


@dataclass(frozen=True)
class Counters:
    """What an endpoint counts.

    Attributes:
        predictions: Answered inputs, by bundle.
        failures: Answers that were failures, by code.
        feedback: Accepted pieces of feedback.
        log_failures: Exchanges that could not be logged.
    """

    predictions: Counter
    failures: Counter
    feedback: Counter
    log_failures: Counter


@cache
def counters() -> Counters:
    """The counters of this process. Prometheus allows each name once: call it before there are threads."""
    from prometheus_client import Counter

    return Counters(
        predictions=Counter("regraft_predictions_total", "Answered inputs.", ["bundle"]),
        failures=Counter("regraft_failures_total", "Failure answers.", ["code"]),
        feedback=Counter("regraft_feedback_total", "Accepted pieces of feedback."),
        log_failures=Counter("regraft_log_failures_total", "Exchanges that could not be logged."),
    )
