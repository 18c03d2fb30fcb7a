"""The verdict on a window, with its evidence, as it is stored and sent."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from monitoring.data_quality import DataQuality
from monitoring.harm import Harm
from monitoring.label_shift import ClassShare
from monitoring.novel_groups import Novelty
from monitoring.quality import Quality
from monitoring.signals.result import SignalResult
from monitoring.where import Where
from pipelines.core.errors import DataError

VerdictName = Literal["ok", "drift", "degraded", "insufficient_data"]


class Verdict(BaseModel):
    """What one window says, and why. The same window, reference, configuration and ongoing drift always give the same verdict.

    Attributes:
        verdict: `drift`: the inputs changed. `degraded`: more errors on labelled traffic, no change of the inputs detected.
            `insufficient_data`: too few requests to judge. `ok`: neither.
        reason: For people.
        bundle: Id of the bundle that answered.
        window_id: Of exactly these requests; lets a receiver see the same verdict twice and act once.
        n_requests, n_needed: In the window, and what a judgement needs.
        burst_length: Requests in a row that counted as one; every so many-th was judged.
        n_reference: Samples of the reference.
        first_at, last_at: Times of the oldest and the newest request; None of an empty window.
        n_malformed: Log lines that could not be read.
        problems: What was wrong with the first 20 of them.
        level: Chance of `drift` on unchanged traffic that this window was allowed, over all signals together; 0 where it was not judged.
        false_alarms_per_year: As configured; what the levels of a year and the test of the error rate sum to at most.
        seed: Of subsamples and permutations.
        signals: Every test, drifted or not; empty with insufficient data.
        quality, where: None with insufficient data.
        drift_since: Of a drift, the oldest request of the first window that showed it; None otherwise.
        harm: Of a drift, what it costs; None otherwise.
        novelty: Of a drift, the most shifted requests and groups of them; None otherwise.
        class_shares: Of a drift, the shares of the true classes if nothing but these changed; None otherwise, or where it cannot be told.
        data_quality: Whether the inputs are broken, whatever the verdict is; None in a verdict of an earlier version.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    verdict: VerdictName
    reason: str
    bundle: str
    window_id: str
    n_requests: int
    n_needed: int
    burst_length: int = 1
    n_reference: int
    first_at: datetime | None
    last_at: datetime | None
    n_malformed: int
    problems: tuple[str, ...]
    level: float
    false_alarms_per_year: float
    seed: int
    signals: tuple[SignalResult, ...]
    quality: Quality | None
    where: Where | None
    drift_since: datetime | None = None
    harm: Harm | None = None
    novelty: Novelty | None = None
    class_shares: tuple[ClassShare, ...] | None = None
    data_quality: DataQuality | None = None

    @property
    def data_quality_problem(self) -> str | None:
        """What is broken about the inputs; None where nothing is."""
        return self.data_quality.reason if self.data_quality is not None and self.data_quality.alarm else None

    @property
    def drifted(self) -> tuple[SignalResult, ...]:
        """The signals that moved, the smallest p-value against its threshold first."""
        return tuple(sorted((signal for signal in self.signals if signal.drifted), key=lambda signal: signal.p_value / signal.threshold))

    def to_json(self) -> str:
        """Indented JSON; `from_json` reads it back to an equal verdict."""
        return self.model_dump_json(indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Verdict:
        """Reads what `to_json` wrote.

        Raises:
            DataError: The text is no verdict of this version.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise DataError(
                got=f"a verdict that cannot be read: {'.'.join(str(part) for part in first['loc']) or 'the file'}: {first['msg']}.",
                allowed="a verdict.json that this version of `regraft monitor` wrote.",
                next_step="judge the window again with `regraft monitor`.",
            ) from error
