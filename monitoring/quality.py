"""Is the model still right? With fed back labels an exact test; without, an estimate from calibrated confidence."""

from __future__ import annotations

from bisect import bisect_left
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from monitoring.reference import Reference
from monitoring.window import Window

Share = Annotated[float, Field(ge=0, le=1)]
_INTERVAL_LEVEL = 0.95


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


class Quality(BaseModel):
    """What a window says about the model's error rate.

    Attributes:
        reference: Accuracy on the reference's test samples (Clopper-Pearson interval).
        labelled: Accuracy on the requests that have feedback; None without any (Clopper-Pearson interval).
        n_labelled, n_errors: Of the window.
        p_value: One-sided Fisher test that the error rate did not rise; None without feedback.
        threshold: Degraded if and only if `p_value <= threshold`.
        n_errors_to_alarm: Fewest errors among `n_labelled` that would be called degraded; None where even all would not.
        expected: Accuracy of the window by its confidences, no labels needed. It trusts the calibration, which a new domain can break.
        mean_confidence, reference_mean_confidence: Means of the probability that an answer is right.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    reference: Accuracy
    labelled: Accuracy | None
    n_labelled: Annotated[int, Field(ge=0)]
    n_errors: Annotated[int, Field(ge=0)]
    p_value: Annotated[float, Field(gt=0, le=1)] | None
    threshold: Annotated[float, Field(gt=0, lt=1)]
    n_errors_to_alarm: Annotated[int, Field(ge=1)] | None
    degraded: bool
    expected: Accuracy
    mean_confidence: Share
    reference_mean_confidence: Share


def quality(window: Window, reference: Reference, alpha: float) -> Quality:
    """Judges the error rate.

    Fisher's test conditions on the errors of window and reference together, so the reference's own uncertainty counts.
    It takes the labelled requests as a fair sample of the window: feedback asked for unsure answers only looks like degradation.

    Args:
        window: At least one request.
        reference: Of the same bundle.
        alpha: Chance of calling an unchanged error rate degraded.
    """
    right = [true == answer for true, answer in zip(window.true_labels, window.answers, strict=True) if true is not None]
    n_errors = right.count(False)
    n_reference_errors = int((~reference.correct).sum())
    p_value = _fisher_p(n_errors, len(right), n_reference_errors, reference.n_samples) if right else None
    return Quality(
        reference=_exact_accuracy(reference.n_samples - n_reference_errors, reference.n_samples),
        labelled=_exact_accuracy(len(right) - n_errors, len(right)) if right else None,
        n_labelled=len(right),
        n_errors=n_errors,
        p_value=p_value,
        threshold=alpha,
        n_errors_to_alarm=_fewest_alarming_errors(len(right), n_reference_errors, reference.n_samples, alpha),
        degraded=p_value is not None and p_value <= alpha,
        expected=expected_accuracy(window, reference),
        mean_confidence=float(window.confidences.mean()),
        reference_mean_confidence=float(reference.confidences.mean()),
    )


def expected_accuracy(window: Window, reference: Reference) -> Accuracy:
    """Mean confidence of the window, corrected by how far confidence was off on the reference.

    Difference of confidences (Guillory et al. 2021, https://arxiv.org/abs/2107.03315); normal interval over both samples' noise.
    """
    from scipy.stats import norm

    offsets = reference.correct - reference.confidences
    value = float(window.confidences.mean() + offsets.mean())
    variance = float(window.confidences.var() / window.n_requests + offsets.var() / reference.n_samples)
    margin = float(norm.ppf((1 + _INTERVAL_LEVEL) / 2) * np.sqrt(variance))
    value, low, high = (float(min(1.0, max(0.0, share))) for share in (value, value - margin, value + margin))
    return Accuracy(value=value, low=low, high=high, n=window.n_requests)


def _exact_accuracy(n_right: int, n_samples: int) -> Accuracy:
    from scipy.stats import binomtest

    interval = binomtest(n_right, n_samples).proportion_ci(_INTERVAL_LEVEL, method="exact")
    return Accuracy(value=n_right / n_samples, low=float(interval.low), high=float(interval.high), n=n_samples)


def _fisher_p(n_errors: int, n_labelled: int, n_reference_errors: int, n_reference: int) -> float:
    from scipy.stats import hypergeom

    # P(X >= n_errors) where the errors of both samples are dealt out at random; equals scipy's fisher_exact(alternative="greater").
    tail = float(hypergeom.sf(n_errors - 1, n_labelled + n_reference, n_errors + n_reference_errors, n_labelled))
    return min(1.0, max(tail, float(np.finfo(np.float64).tiny)))


def _fewest_alarming_errors(n_labelled: int, n_reference_errors: int, n_reference: int, alpha: float) -> int | None:
    candidates = range(1, n_labelled + 1)
    place = bisect_left(candidates, -alpha, key=lambda n_errors: -_fisher_p(n_errors, n_labelled, n_reference_errors, n_reference))
    return candidates[place] if place < len(candidates) else None
