"""The verdict's sentence: who moved, and by how much, in plain words."""

from __future__ import annotations

from datetime import datetime

from monitoring.harm import Harm
from monitoring.quality import Quality
from monitoring.reference import Reference
from monitoring.signals.result import SignalResult
from monitoring.signals.run import OUT_OF_DISTRIBUTION
from monitoring.where import NumberMove, Where
from monitoring.window import Window

_MAX_NAMED = 2
_USUAL_DISTANCE_FRAC = 0.05


def insufficient_reason(window: Window, n_needed: int, n_largest: int, burst_length: int) -> str:
    """How many requests are missing for a judgement."""
    missing = n_needed - window.n_requests
    text = f"{window.n_requests} requests of bundle {window.bundle}; {n_needed} are needed: {missing} more."
    if burst_length > 1:
        text += f" They come in bursts of alike inputs: {burst_length} in a row count as one."
    if n_needed > n_largest:
        text += f" The window holds {n_largest} at most: raise monitor.window, or allow more false alarms."
    return text + _malformed(window)


def small_reference_reason(reference: Reference) -> str:
    """No number of requests makes up for a small reference."""
    return f"The reference holds {reference.n_samples} samples, too few for tests of any use. Retrain with a larger test split."


def waiting_reason(due_at: datetime, false_alarms_per_year: float) -> str:
    """Looking more often than false alarms allow."""
    return (
        f"No judgement yet: {false_alarms_per_year:g} false alarms a year allow the next at {due_at:%Y-%m-%d %H:%M} UTC."
        " Look less often, or allow more."
    )


def drift_reason(window: Window, reference: Reference, signals: tuple[SignalResult, ...], judged: Quality, moved: Where, harm: Harm) -> str:
    """The changed inputs, family by family, what is known of the errors, and what it costs."""
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
    elif "classifier" in drifted:
        area, classifier = drifted["classifier"].statistic, drifted["classifier"]
        parts.append(f"a classifier tells new from old embeddings apart in {_percent(area)} of pairs ({_tested(classifier)})")
    if OUT_OF_DISTRIBUTION in drifted:
        far = drifted[OUT_OF_DISTRIBUTION]
        parts.append(f"{_percent(far.statistic)} of the requests lie further from the reference than 95 % of it do ({_tested(far)})")
    fresh = [f"{count.domain} ({count.n_requests} requests)" for count in moved.domains if count.is_new]
    new_domains = f" New domains: {', '.join(fresh)}." if fresh else ""
    return (
        f"The inputs changed: {'; '.join(parts)}.{new_domains} {_sizes(window, reference)} {labelled_sentence(judged)}"
        f" {harm.reason}{_malformed(window)}"
    )


def degraded_reason(window: Window, reference: Reference, judged: Quality) -> str:
    """More errors although no input moved."""
    return (
        f"The error rate went up {_evidence(judged)} and no change of the inputs was detected:"
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
    if abs(distance.window_median - 1) < _USUAL_DISTANCE_FRAC:
        return f"the embeddings moved ({_tested(signal)})"
    return f"the embeddings moved to {distance.window_median:.2f} times the usual distance from the reference's mean ({_tested(signal)})"


def _tested(signal: SignalResult) -> str:
    return f"p = {signal.p_value:.2g}, limit {signal.threshold:.2g}"


def _evidence(judged: Quality) -> str:
    found = judged.error_rate
    if found is None:
        return "(no labels)"
    return (
        f"({found.n_errors} of {found.n_labelled} labelled answers are wrong; up to {_percent(found.allowed_error_frac)} is usual;"
        f" evidence {found.evidence:.2g}, limit 1)"
    )


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
