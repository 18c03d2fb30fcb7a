"""Conditions on the built Bento, and a person's word: asked last, and only where all others pass."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipelines.config.gates.on_answers import Level
from pipelines.config.section import Positive, Section


class LatencyGate(Section):
    """The served Bento answers single requests fast enough: the upper bound of the 95th percentile is below a limit.

    Attributes:
        limit_ms: Of the 95th percentile, as a client on this machine sees it.
        n_requests: Measured, after a warm-up; one at a time, real test samples.
        level: Of the one-sided bound.
    """

    kind: Literal["latency_p95_ms"]
    limit_ms: Positive
    n_requests: Annotated[int, Field(ge=60, le=10_000)] = 200
    level: Level = 0.95


class SizeGate(Section):
    """The Bento is small enough.

    Attributes:
        limit_mb: Of all its files, in megabytes of 10^6 bytes.
    """

    kind: Literal["bundle_mb"]
    limit_mb: Positive


class HumanApprovalGate(Section):
    """A person looks at the evidence in the Prefect UI and approves or refuses; no answer in time refuses.

    Attributes:
        timeout_minutes: How long the run waits.
    """

    kind: Literal["human_approval"]
    timeout_minutes: Positive = 1440.0
