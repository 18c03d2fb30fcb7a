"""From a window to a verdict."""

from __future__ import annotations

import hashlib
from typing import Any

from monitoring.quality import quality
from monitoring.reason import degraded_reason, drift_reason, insufficient_reason, ok_reason
from monitoring.reference import Reference
from monitoring.signals.run import run_signals
from monitoring.verdict import Verdict
from monitoring.where import where
from monitoring.window import Window
from pipelines.config import MonitorSection
from pipelines.core.errors import IntegrityError

# With fewer, neither permutation p-values nor the accuracy of the reference say anything.
MIN_REFERENCE = 20


def judge_window(window: Window, reference: Reference, config: MonitorSection) -> Verdict:
    """Tests a window against the reference and says what it means.

    Drift outranks degraded: changed inputs explain more errors, and the evidence carries both.

    Args:
        window: Requests that the reference's bundle answered.
        reference: Of that bundle.
        config: Levels, sizes and seed.

    Raises:
        IntegrityError: Window and reference are of different bundles or have different columns.
    """
    _refuse_mismatch(window, reference)
    facts = _facts(window, reference, config)
    if window.n_requests < config.min_window or reference.n_samples < MIN_REFERENCE:
        reason = insufficient_reason(window, reference, config.min_window, MIN_REFERENCE)
        return Verdict(verdict="insufficient_data", reason=reason, signals=(), quality=None, where=None, **facts)
    signals = run_signals(window, reference, config)
    judged = quality(window, reference, config.false_alarm_rate)
    moved = where(window, reference, signals)
    evidence: dict[str, Any] = {"signals": signals, "quality": judged, "where": moved, **facts}
    if any(signal.drifted for signal in signals):
        return Verdict(verdict="drift", reason=drift_reason(window, reference, signals, judged, moved), **evidence)
    if judged.degraded:
        return Verdict(verdict="degraded", reason=degraded_reason(window, reference, judged), **evidence)
    return Verdict(verdict="ok", reason=ok_reason(window, reference, signals, judged), **evidence)


def window_id(window: Window) -> str:
    """16 hex digits over the bundle, the requests and their feedback: new labels make it another window."""
    digest = hashlib.sha256(window.bundle.encode())
    for request_id, label in sorted(zip(window.request_ids, window.true_labels, strict=True), key=lambda item: item[0]):
        digest.update(f"\0{request_id}\0{'' if label is None else '=' + label}".encode())
    return digest.hexdigest()[:16]


def _facts(window: Window, reference: Reference, config: MonitorSection) -> dict[str, Any]:
    return {
        "bundle": window.bundle,
        "window_id": window_id(window),
        "n_requests": window.n_requests,
        "n_needed": config.min_window,
        "n_reference": reference.n_samples,
        "first_at": min(window.times, default=None),
        "last_at": max(window.times, default=None),
        "n_malformed": window.n_malformed,
        "problems": tuple(f"{finding.where}: {finding.problem}" for finding in window.problems),
        "false_alarm_rate": config.false_alarm_rate,
        "seed": config.seed,
    }


def _refuse_mismatch(window: Window, reference: Reference) -> None:
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
