"""Is the model still right? With fed back labels a sequential test; without, estimates from calibrated confidence."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from monitoring.error_rate import ErrorRate, error_rate
from monitoring.reference import Reference
from monitoring.window import Window
from pipelines.intervals import clopper_pearson

Share = Annotated[float, Field(ge=0, le=1)]
Loss = Annotated[float, Field(ge=-1, le=1)]
INTERVAL_LEVEL = 0.95
_N_RESAMPLES = 400
MOST_LABELS = 400


class Accuracy(BaseModel):
    """An accuracy with its 95 % interval.

    Attributes:
        value, low, high: Shares in [0, 1].
        n: Samples behind it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: Share
    low: Share
    high: Share
    n: Annotated[int, Field(ge=1)]


class AccuracyLoss(BaseModel):
    """By how much the accuracy of the window is below that of the reference, with its 95 % interval; below 0 it is better.

    Attributes:
        value, low, high: In [-1, 1]; 0.05 is five points.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: Loss
    low: Loss
    high: Loss


class Quality(BaseModel):
    """What a window says about the model's error rate.

    Attributes:
        reference: Accuracy on the reference's test samples (Clopper-Pearson interval).
        labelled: Accuracy on the requests that have feedback; None without any (Clopper-Pearson interval).
        n_labelled, n_errors: Of the window.
        error_rate: The sequential test over all labels of the bundle; None without any.
        labelled_loss: Against the reference, by the labels of the window; None without any.
        expected, expected_loss: By the calibrated confidences, no labels needed. They trust the calibration, which a new domain can break.
        thresholded, thresholded_loss: By the share of confidences above a threshold; trusts that errors stay below it.
        mean_confidence, reference_mean_confidence: Means of the probability that an answer is right.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    reference: Accuracy
    labelled: Accuracy | None
    n_labelled: Annotated[int, Field(ge=0)]
    n_errors: Annotated[int, Field(ge=0)]
    error_rate: ErrorRate | None
    labelled_loss: AccuracyLoss | None
    expected: Accuracy
    expected_loss: AccuracyLoss
    thresholded: Accuracy
    thresholded_loss: AccuracyLoss
    mean_confidence: Share
    reference_mean_confidence: Share

    @property
    def degraded(self) -> bool:
        """Whether labels show more errors than on the reference."""
        return self.error_rate is not None and self.error_rate.risen


def quality(window: Window, reference: Reference, false_alarms_per_year: float, seed: int) -> Quality:
    """Judges the error rate.

    It takes the labelled requests as a fair sample: feedback asked for unsure answers only looks like degradation.

    Args:
        window: At least one request.
        reference: Of the same bundle.
        false_alarms_per_year: Of the sequential test.
        seed: Of the resamples behind an interval.
    """
    right = [true == answer for true, answer in zip(window.true_labels, window.answers, strict=True) if true is not None]
    n_errors = right.count(False)
    n_reference_right = int(reference.correct.sum())
    expected, thresholded = expected_loss(window, reference), thresholded_loss(window, reference, np.random.default_rng(seed))
    return Quality(
        reference=_exact_accuracy(n_reference_right, reference.n_samples),
        labelled=_exact_accuracy(len(right) - n_errors, len(right)) if right else None,
        n_labelled=len(right),
        n_errors=n_errors,
        error_rate=_sequential(window, reference, false_alarms_per_year),
        labelled_loss=labelled_loss(len(right) - n_errors, len(right), n_reference_right, reference.n_samples) if right else None,
        expected=_accuracy_after(expected, window, reference),
        expected_loss=expected,
        thresholded=_accuracy_after(thresholded, window, reference),
        thresholded_loss=thresholded,
        mean_confidence=float(window.confidences.mean()),
        reference_mean_confidence=float(reference.confidences.mean()),
    )


def expected_loss(window: Window, reference: Reference) -> AccuracyLoss:
    """Fall of the mean confidence (difference of confidences, Guillory et al. 2021, https://arxiv.org/abs/2107.03315).

    How far confidence was off on the reference is taken to stay as it was. Normal interval over the noise of both samples.
    """
    from scipy.stats import norm

    before, now = reference.confidences, window.confidences
    margin = float(norm.ppf((1 + INTERVAL_LEVEL) / 2) * np.sqrt(before.var() / len(before) + now.var() / len(now)))
    value = float(before.mean() - now.mean())
    return _loss(value, value - margin, value + margin)


def thresholded_loss(window: Window, reference: Reference, rng: np.random.Generator) -> AccuracyLoss:
    """Average thresholded confidence (Garg et al. 2022, https://arxiv.org/abs/2201.04234), as a loss against the reference.

    The threshold is the confidence that as many reference samples reach as are answered rightly. The paper takes the window's share above
    it as its accuracy; ours takes how far that share fell, which is the same but where many confidences are equal. The interval is a
    percentile bootstrap over both samples: the reference's noise moves the threshold, too.

    Args:
        window: At least one request.
        reference: Of the same bundle.
        rng: Of 400 resamples.
    """
    before, now, right = reference.confidences, np.sort(window.confidences), reference.correct
    chosen = rng.integers(len(before), size=(_N_RESAMPLES, len(before)))
    resampled = np.array([_fall_of_share(before[rows], now, int(right[rows].sum())) for rows in chosen])
    # A resampled window's share above the threshold is a binomial one.
    share = np.clip(resampled[:, 1], 0, 1)
    falls = resampled[:, 0] + share - rng.binomial(len(now), share) / len(now)
    value = float(_fall_of_share(before, now, int(right.sum()))[0])
    tail = (1 - INTERVAL_LEVEL) / 2
    low, high = (float(end) for end in np.quantile(falls, [tail, 1 - tail]))
    return _loss(value, min(low, value), max(high, value))


def _fall_of_share(before: np.ndarray, sorted_now: np.ndarray, n_right: int) -> tuple[float, float]:
    """Share of confidences at or above the threshold before minus now, and now."""
    ordered = np.sort(before)
    threshold = ordered[len(ordered) - n_right] if n_right else np.inf
    share_before = 1 - np.searchsorted(ordered, threshold, side="left") / len(ordered)
    share_now = 1 - np.searchsorted(sorted_now, threshold, side="left") / len(sorted_now)
    return float(share_before - share_now), float(share_now)


def labelled_loss(n_right: int, n_labelled: int, n_reference_right: int, n_reference: int) -> AccuracyLoss:
    """Difference of two accuracies with Newcombe's interval out of exact ones (1998, https://doi.org/10.1002/sim.1111, method 10)."""
    before, now = clopper_pearson(n_reference_right, n_reference), clopper_pearson(n_right, n_labelled)
    value = before.value - now.value
    low = value - float(np.hypot(before.value - before.low, now.high - now.value))
    high = value + float(np.hypot(before.high - before.value, now.value - now.low))
    return _loss(value, low, high)


class LabelledStretch(BaseModel):
    """What the labels of a stretch of requests say.

    Attributes:
        n_labelled: Of them, at most the latest 400: a drift may have grown since it began.
        loss: Of accuracy, against the reference.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_labelled: Annotated[int, Field(ge=1)]
    loss: AccuracyLoss


def labelled_since(window: Window, reference: Reference, since: datetime) -> LabelledStretch | None:
    """The loss by the labels of all requests from `since` on, of the window or before it; None without any.

    Labels come late, so a window has few or none of its own. Those of the requests before it that were of the same drift say as much.
    """
    answers = [answer for answer in window.labelled_answers if answer.requested_at >= since]
    latest = sorted(answers, key=lambda answer: answer.requested_at)[-MOST_LABELS:]
    if not latest:
        return None
    n_right = sum(answer.is_right for answer in latest)
    loss = labelled_loss(n_right, len(latest), int(reference.correct.sum()), reference.n_samples)
    return LabelledStretch(n_labelled=len(latest), loss=loss)


def _sequential(window: Window, reference: Reference, false_alarms_per_year: float) -> ErrorRate | None:
    history = window.labelled_answers
    if not history:
        return None
    is_error = np.array([not answer.is_right for answer in history], dtype=np.bool_)
    n_reference_errors = int((~reference.correct).sum())
    times = [answer.labelled_at for answer in history]
    return error_rate(is_error, times, n_reference_errors, reference.n_samples, false_alarms_per_year)


def _accuracy_after(loss: AccuracyLoss, window: Window, reference: Reference) -> Accuracy:
    """The reference's accuracy less the loss; the interval has the reference's own noise, too."""
    before = _exact_accuracy(int(reference.correct.sum()), reference.n_samples)
    value = before.value - loss.value
    low = value - float(np.hypot(before.value - before.low, loss.high - loss.value))
    high = value + float(np.hypot(before.high - before.value, loss.value - loss.low))
    value, low, high = (min(1.0, max(0.0, share)) for share in (value, low, high))
    return Accuracy(value=value, low=low, high=high, n=window.n_requests)


def _loss(value: float, low: float, high: float) -> AccuracyLoss:
    value, low, high = (min(1.0, max(-1.0, share)) for share in (value, low, high))
    return AccuracyLoss(value=value, low=low, high=high)


def _exact_accuracy(n_right: int, n_samples: int) -> Accuracy:
    interval = clopper_pearson(n_right, n_samples)
    return Accuracy(value=interval.value, low=interval.low, high=interval.high, n=n_samples)
