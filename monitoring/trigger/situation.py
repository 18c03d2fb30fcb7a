"""All that a decision about a retraining looks at."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from monitoring.harm import HarmName
from monitoring.trigger.orders import Snooze, Stop
from monitoring.verdict import VerdictName


@dataclass(frozen=True)
class Start:
    """A retraining or an adaptation that was started by an event.

    Attributes:
        at: When; aware.
        ended: Whether its outcome is known, or a person is asked for it. One that has not ended and is not under way was interrupted.
        failed_at: When an error ended it before it got to an outcome; None where none did, as where it was killed.
    """

    at: datetime
    ended: bool = True
    failed_at: datetime | None = None


@dataclass(frozen=True)
class Situation:
    """One moment of a workspace. Times are aware.

    Attributes:
        now: The moment.
        verdict: On the latest window; None where nobody looked, as before a scheduled retraining.
        harm, harm_reason: What a drift costs; None and empty where that is not said.
        data_quality_problem: What is broken about the inputs; None where nothing is.
        n_new_labels: Labelled samples that nothing has learned from.
        n_drift_labels: Of those, the ones that can be of an ongoing drift: of requests since it began, and those that somebody put into
            the data himself; None where there is no drift, or nobody feeds labels back.
        n_waiting_for_label: Kept inputs without a label; None where that was not counted.
        n_unlabelled: Raw inputs kept since the last adaptation.
        learned_at: When the last run began that got to an outcome, whoever started it; None where none has.
        starts: Retrainings and adaptations that events started, at least those of the last 28 days.
        running: Whether a retraining or an ingestion is under way, or a retraining waits for a person.
        refused_digests: Of the data whose candidates the gates refused.
        data_digest: Of the data that a retraining would learn from; None where it is not known before they are put together.
        stop, snooze: What a person said; None where nothing was said.
        scheduled: Whether a schedule asks, and not an event.
    """

    now: datetime
    verdict: VerdictName | None = None
    harm: HarmName | None = None
    harm_reason: str = ""
    data_quality_problem: str | None = None
    n_new_labels: int = 0
    n_drift_labels: int | None = None
    n_waiting_for_label: int | None = None
    n_unlabelled: int = 0
    learned_at: datetime | None = None
    starts: tuple[Start, ...] = ()
    running: bool = False
    refused_digests: frozenset[str] = frozenset()
    data_digest: str | None = None
    stop: Stop | None = None
    snooze: Snooze | None = None
    scheduled: bool = False

    @property
    def is_harmless(self) -> bool:
        """Whether the inputs changed at no cost."""
        return self.verdict == "drift" and self.harm == "costs_nothing"
