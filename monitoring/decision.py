"""From a window to a verdict."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any

import numpy as np

from monitoring.alarm_budget import ERROR_RATE_SHARE, SMALLEST_LEVEL, Allowance
from monitoring.bursts import burst_length
from monitoring.data_quality import QualityLimits, judge_data_quality
from monitoring.harm import judge_harm
from monitoring.label_shift import estimate_class_shares
from monitoring.narrowing import narrowed
from monitoring.novel_groups import describe_novelty
from monitoring.power import n_requests_needed
from monitoring.quality import labelled_since, quality
from monitoring.reason import (
    degraded_reason,
    drift_reason,
    insufficient_reason,
    ok_reason,
    small_reference_reason,
    waiting_reason,
)
from monitoring.reference import Reference
from monitoring.signals.run import Strictness, run_signals
from monitoring.verdict import Verdict
from monitoring.where import where
from monitoring.window import Window
from pipelines.config import MonitorSection
from pipelines.core.errors import IntegrityError

# With fewer, the accuracy of the reference says nothing.
MIN_REFERENCE = 20


def judge_window(
    window: Window, reference: Reference, config: MonitorSection, allowed: Allowance, drift_since: datetime | None = None
) -> Verdict:
    """Tests a window against the reference and says what it means.

    Drift outranks degraded: changed inputs explain more errors, and the evidence carries both.

    Args:
        window: Requests that the reference's bundle answered.
        reference: Of that bundle.
        config: Sizes, false alarms and seed.
        allowed: The level of the window's tests (`alarm_budget.allowance`); a window that is not judged must not be charged.
        drift_since: Of an ongoing drift that earlier windows of this bundle showed, when it began; aware. Labels since then say what it
            costs.

    Raises:
        IntegrityError: Window and reference are of different bundles or have different columns.
    """
    refuse_mismatch(window, reference)
    window, reference = narrowed(window, reference)
    facts = _facts(window, reference, config, allowed)
    missing = why_not_judged(window, reference, config, allowed)
    if missing is not None:
        unjudged = facts | {"level": 0.0}
        return Verdict(verdict="insufficient_data", reason=missing, signals=(), quality=None, where=None, **unjudged)
    strictness = Strictness(allowed.level, config.seed, window_id(window))
    window = window.every(burst_length(window.embeddings))
    signals = run_signals(window, reference, strictness)
    judged = quality(window, reference, config.false_alarms_per_year * ERROR_RATE_SHARE, config.seed)
    moved = where(window, reference, signals)
    evidence: dict[str, Any] = {"signals": signals, "quality": judged, "where": moved, **facts}
    if any(signal.drifted for signal in signals):
        since = min(drift_since or window.times[0], facts["first_at"])
        harm = judge_harm(judged, signals, config.harmful_loss_frac, labelled_since(window, reference, since))
        shares = estimate_class_shares(window, reference, np.random.default_rng(config.seed))
        reason = drift_reason(window, reference, signals, judged, moved, harm)
        novelty = describe_novelty(window, reference, strictness)
        return Verdict(verdict="drift", reason=reason, drift_since=since, harm=harm, novelty=novelty, class_shares=shares, **evidence)
    if judged.degraded:
        return Verdict(verdict="degraded", reason=degraded_reason(window, reference, judged), **evidence)
    return Verdict(verdict="ok", reason=ok_reason(window, reference, signals, judged), **evidence)


def why_not_judged(window: Window, reference: Reference, config: MonitorSection, allowed: Allowance) -> str | None:
    """What is missing for a judgement; None where nothing is."""
    if allowed.due_at is not None:
        return waiting_reason(allowed.due_at, config.false_alarms_per_year)
    n_needed = n_needed_for(reference, config, allowed)
    if n_needed is None or reference.n_samples < MIN_REFERENCE:
        return small_reference_reason(reference)
    length = burst_length(window.embeddings)
    if window.every(length).n_requests < n_needed:
        return insufficient_reason(window, n_needed * length, config.window, length)
    return None


def n_needed_for(reference: Reference, config: MonitorSection, allowed: Allowance) -> int | None:
    """Requests that a judgement takes: those of useful power, and at least `min_window`; None where the reference is too small."""
    by_power = n_requests_needed(max(allowed.level, SMALLEST_LEVEL), reference.n_samples, reference.statistics.shape[1])
    return None if by_power is None else max(config.min_window, by_power)


def window_id(window: Window) -> str:
    """16 hex digits over the bundle, the requests and their feedback: new labels make it another window."""
    digest = hashlib.sha256(window.bundle.encode())
    for request_id, label in sorted(zip(window.request_ids, window.true_labels, strict=True), key=lambda item: item[0]):
        digest.update(f"\0{request_id}\0{'' if label is None else '=' + label}".encode())
    return digest.hexdigest()[:16]


def _facts(window: Window, reference: Reference, config: MonitorSection, allowed: Allowance) -> dict[str, Any]:
    return {
        "bundle": window.bundle,
        "window_id": window_id(window),
        "n_requests": window.n_requests,
        "n_needed": n_needed_for(reference, config, allowed) or config.min_window,
        "burst_length": burst_length(window.embeddings),
        "n_reference": reference.n_samples,
        "first_at": min(window.times, default=None),
        "last_at": max(window.times, default=None),
        "n_malformed": window.n_malformed,
        "problems": tuple(f"{finding.where}: {finding.problem}" for finding in window.problems),
        "level": allowed.level,
        "false_alarms_per_year": config.false_alarms_per_year,
        "seed": config.seed,
        "data_quality": judge_data_quality(window, QualityLimits.of(reference)),
    }


def refuse_mismatch(window: Window, reference: Reference) -> None:
    """Only answers of the reference's own bundle can be compared with it.

    Raises:
        IntegrityError: Window and reference are of different bundles or have different columns.
    """
    pairs = {
        "bundle": (window.bundle, reference.bundle),
        "labels": (window.labels, reference.labels),
        "embedding size": (window.embeddings.shape[1], reference.embeddings.shape[1]),
        "number of input statistics": (window.statistics.shape[1], reference.statistics.shape[1]),
    }
    different = [f"{name} {ours} instead of {theirs}" for name, (ours, theirs) in pairs.items() if ours != theirs]
    if different and (window.n_requests or window.bundle != reference.bundle):
        raise IntegrityError(
            got=f"a window with {'; '.join(different)}.",
            allowed="requests that the reference's own bundle answered.",
            next_step="judge the window against the reference of the bundle that its lines name, or move a log of another project away.",
        )
