"""The verdict's sentence: who moved, and by how much, in plain words."""

from __future__ import annotations

from datetime import datetime

from monitoring.quality import Quality
from monitoring.reference import Reference
from monitoring.signals.result import SignalResult
from monitoring.where import NumberMove, Where
from monitoring.window import Window

_MAX_NAMED = 2
_USUAL_DISTANCE_FRAC = 0.05


def insufficient_reason(window: Window, reference: Reference, n_needed: int, n_reference_needed: int) -> str:
    """What is missing for a judgement."""
    if reference.n_samples < n_reference_needed:
        return f"The reference holds {reference.n_samples} samples; {n_reference_needed} are needed. Retrain with a larger test split."
    missing = n_needed - window.n_requests
    text = f"{window.n_requests} requests of bundle {window.bundle}; {n_needed} are needed: {missing} more."
    return text + _malformed(window)


def drift_reason(window: Window, reference: Reference, signals: tuple[SignalResult, ...], judged: Quality, moved: Where) -> str:
    """The changed inputs, family by family, and what is known of the errors."""
    drifted = {signal.name: signal for signal in signals if signal.drifted}
    named = [move for move in moved.numbers if move.drifted and move.name != "embedding"]
    parts = [_describe_number(move) for move in named[:_MAX_NAMED]]
    if len(named) > _MAX_NAMED:
        parts.append(f"{len(named) - _MAX_NAMED} more of the numbers moved")
    if "predicted_class" in drifted:
        largest = moved.classes[0]
        parts.append(f"answers {largest.label!r} went from {_percent(largest.reference_frac)} to {_percent(largest.window_frac)}")
    if "embedding" in drifted:
        parts.append(_describe_embedding(drifted["embedding"], next(move for move in moved.numbers if move.name == "embedding")))
    fresh = [f"{count.domain} ({count.n_requests} requests)" for count in moved.domains if count.is_new]
    new_domains = f" New domains: {', '.join(fresh)}." if fresh else ""
    return (
        f"The inputs changed: {'; '.join(parts)}.{new_domains} {_sizes(window, reference)} {labelled_sentence(judged)}{_malformed(window)}"
    )


def degraded_reason(window: Window, reference: Reference, judged: Quality) -> str:
    """More errors although no input moved."""
    return (
        f"The error rate went up (p = {_p(judged.p_value)}, limit {judged.threshold:.2g}) and no change of the inputs was detected:"
        f" what the labels mean may have changed. {labelled_sentence(judged)} {_sizes(window, reference)}{_malformed(window)}"
    )


def ok_reason(window: Window, reference: Reference, signals: tuple[SignalResult, ...], judged: Quality) -> str:
    """Nothing was found, and how close it was."""
    nearest = min(signals, key=lambda signal: signal.p_value / signal.threshold)
    return (
        f"No change was detected: the nearest of {len(signals)} signals is {nearest.name}"
        f" (p = {nearest.p_value:.2g}, limit {nearest.threshold:.2g})."
        f" {_sizes(window, reference)} {labelled_sentence(judged)}{_malformed(window)}"
    )


def labelled_sentence(judged: Quality) -> str:
    """What feedback says about the accuracy, or what confidence says without it."""
    if judged.labelled is None:
        return (
            f"No labels were fed back; by the model's confidence about {_percent(judged.expected.value)} of the answers are right"
            f" ({_percent(judged.reference.value)} on the reference)."
        )
    n_right = judged.n_labelled - judged.n_errors
    return (
        f"{n_right} of {judged.n_labelled} labelled answers are right"
        f" ({_percent(judged.labelled.value)}; {_percent(judged.reference.value)} on the reference)."
    )


def span(first_at: datetime | None, last_at: datetime | None) -> str:
    """The window's stretch of time."""
    if first_at is None or last_at is None:
        return "no requests"
    return f"{first_at:%Y-%m-%d %H:%M:%S} to {last_at:%Y-%m-%d %H:%M:%S} UTC"


def _describe_number(move: NumberMove) -> str:
    before, now = f"{move.reference_median:.3g}", f"{move.window_median:.3g}"
    if before == now:
        direction = "larger" if move.effect > 0 else "smaller"
        return f"{move.name} spread differently around its median {now} ({direction} in {_percent((1 + abs(move.effect)) / 2)} of pairs)"
    return f"{move.name} went from {before} to {now} (median)"


def _describe_embedding(signal: SignalResult, distance: NumberMove) -> str:
    tested = f"p = {signal.p_value:.2g}, limit {signal.threshold:.2g}"
    if abs(distance.window_median - 1) < _USUAL_DISTANCE_FRAC:
        return f"the embeddings moved ({tested})"
    return f"the embeddings moved to {distance.window_median:.2f} times the usual distance from the reference's mean ({tested})"


def _sizes(window: Window, reference: Reference) -> str:
    return f"{window.n_requests} requests against {reference.n_samples} reference samples."


def _malformed(window: Window) -> str:
    if not window.n_malformed:
        return ""
    first = window.problems[0]
    lines = "line was" if window.n_malformed == 1 else "lines were"
    return f" {window.n_malformed} malformed {lines} left out, the first: {first.where}: {first.problem}."


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _p(p_value: float | None) -> str:
    return "unknown" if p_value is None else f"{p_value:.2g}"
