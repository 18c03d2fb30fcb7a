"""Whether a verdict starts a retraining. Pure: all that it looks at is an argument."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from monitoring.verdict import Verdict
from pipelines.config import TriggerSection

Cause = Literal["drift", "degraded", "new_labels"]


@dataclass(frozen=True)
class TriggerDecision:
    """Start a retraining or not.

    Attributes:
        start: Whether to.
        reason: For people.
        cause: What called for it, whether or not it starts; None where nothing did.
    """

    start: bool
    reason: str
    cause: Cause | None


def decide_retraining(
    verdict: Verdict,
    n_new_labels: int,
    last_retraining_at: datetime | None,
    running: bool,
    refused_digests: Collection[str],
    now: datetime,
    config: TriggerSection,
    *,
    data_digest: str | None = None,
) -> TriggerDecision:
    """Decides. Drift alone never retrains: without new labels the same data would give the same model again.

    Nor does drift that costs nothing, unless the configuration says so.

    Args:
        verdict: Of the latest window.
        n_new_labels: Labelled samples that the champion has not seen.
        last_retraining_at: Start of the last one, whatever became of it; None if there was none. Aware, as `now`.
        running: Whether one is under way.
        refused_digests: Digests of the data whose candidates the gates refused.
        now: The time to count the cool-down to.
        config: `min_new_labels`, `cooldown_minutes`, `on_harmless_drift`.
        data_digest: Of the data that a retraining would use; None where it is not known before the data are put together.

    Returns:
        The decision; its reason names the first obstacle.
    """
    if is_harmless(verdict) and not config.on_harmless_drift:
        return TriggerDecision(False, f"The window is drifted, but nothing needs to be done. {_harm_reason(verdict)}", None)
    cause = _cause(verdict, n_new_labels, config)
    if cause is None:
        return TriggerDecision(False, f"Nothing calls for it: the window is {_name(verdict)} and {_labels(n_new_labels, config)}.", None)
    obstacle = _obstacle(n_new_labels, last_retraining_at, running, refused_digests, now, config, data_digest)
    called_by = f"the window is {_name(verdict)}" if cause != "new_labels" else "enough new labels have come in"
    if obstacle:
        return TriggerDecision(False, f"Not now, although {called_by}: {obstacle}.", cause)
    return TriggerDecision(True, f"Retraining starts: {called_by}, and there are {n_new_labels} new labels to learn from.", cause)


def is_harmless(verdict: Verdict) -> bool:
    """Whether the inputs changed at no cost."""
    return verdict.verdict == "drift" and verdict.harm is not None and verdict.harm.harm == "costs_nothing"


def _harm_reason(verdict: Verdict) -> str:
    return verdict.harm.reason if verdict.harm else ""


def _cause(verdict: Verdict, n_new_labels: int, config: TriggerSection) -> Cause | None:
    if verdict.verdict in ("drift", "degraded"):
        return "drift" if verdict.verdict == "drift" else "degraded"
    return "new_labels" if n_new_labels >= config.min_new_labels else None


def _obstacle(
    n_new_labels: int,
    last_retraining_at: datetime | None,
    running: bool,
    refused_digests: Collection[str],
    now: datetime,
    config: TriggerSection,
    data_digest: str | None,
) -> str | None:
    if n_new_labels < config.min_new_labels:
        return f"{_labels(n_new_labels, config)}; label requests of this window and feed them back"
    if running:
        return "a retraining is under way"
    if last_retraining_at is not None and now < (ready_at := last_retraining_at + timedelta(minutes=config.cooldown_minutes)):
        return f"the last one started at {last_retraining_at:%Y-%m-%d %H:%M} UTC; the cool-down ends at {ready_at:%H:%M} UTC"
    if data_digest is not None and data_digest in refused_digests:
        return f"a candidate of these very data ({data_digest[:12]}) was refused; it takes other data to get another answer"
    return None


def _name(verdict: Verdict) -> str:
    return {"ok": "unchanged", "drift": "drifted", "degraded": "degraded", "insufficient_data": "too small to judge"}[verdict.verdict]


def _labels(n_new_labels: int, config: TriggerSection) -> str:
    return f"there are {n_new_labels} new labels of the {config.min_new_labels} that make it worth while"
