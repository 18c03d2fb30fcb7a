"""The gate `calibration`: the confidences are right on average, with confidence.

The test samples are put into bins of equal size by their confidence. A bin's error is |its share of right answers - its mean confidence|,
and the calibration error is the mean of the bins' errors (ECE: Guo et al. 2017, https://arxiv.org/abs/1706.04599; bins of equal size: Kumar
et al. 2019, https://arxiv.org/abs/1909.10155). Where a sample has any number of labels, the pairs of sample and label are binned, by the
label's probability, and the sample stays what is drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from pipelines.answers import TestAnswers
from pipelines.config import CalibrationGate
from pipelines.gates.decision import Decision, Outcome, percent
from pipelines.gates.label_losses import all_labels, label_matrix, probabilities_of
from pipelines.mean_bounds import lower_bound, upper_bound

FEWEST_BINS, MOST_BINS = 5, 10
_SAMPLES_PER_BIN = 200

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class BinnedErrors:
    """Rare events by bin: wrong answers where the confidence is 1/2 or more, else right ones.

    Attributes:
        observed: float64 [b], share of all pairs that are a rare event in this bin.
        expected: float64 [b], what the confidences promise.
        moments: float64 [b, b], covariance of (observed - expected), estimated from n samples.
        heaviest: What one sample can add to `observed`.
        noise: float64 [b], standard errors of (observed - expected).
    """

    observed: Floats
    expected: Floats
    moments: Floats
    heaviest: float

    @property
    def noise(self) -> Floats:
        """float64 [b]."""
        return np.sqrt(np.diag(self.moments))

    @property
    def error(self) -> float:
        """The calibration error as it is measured, biased upwards: noise never cancels between bins."""
        return float(np.abs(self.observed - self.expected).sum())


def calibration(rule: CalibrationGate, answers: TestAnswers) -> Decision:
    """Null hypothesis: the calibration error is above `rule.max_error`.

    Passes where the upper bound at `rule.level` is `max_error` or less; see `error_upper_bound` for why that needs no correction for the
    bias of the measured error. `statistic` is the error with its bias removed.

    Args:
        rule: Of the conf file.
        answers: The candidate's.

    Raises:
        DataError: Many labels a sample, and an evaluation without probabilities.
    """
    confidences, right = _pairs(answers)
    if answers.n < rule.min_n:
        return _decision(rule, answers.n, "insufficient_data", f"{answers.n} test samples are fewer than the {rule.min_n} it asks for")
    bins = binned_errors(confidences, right, n_bins(answers.n))
    high = error_upper_bound(bins, rule.level)
    value = debiased_error(bins)
    outcome, why = _outcome(rule, bins, value, high)
    shown = f"the calibration error is {percent(value)} on {answers.n} test samples, its bias of {percent(bins.error - value)} removed"
    sure = f"at {percent(rule.level)} confidence it is at most {percent(high)}"
    detail = {"test": "every_direction", "n_bins": len(bins.observed), "biased_error": bins.error, "min_n": rule.min_n}
    return _decision(rule, answers.n, outcome, f"{shown}; {sure}, {why}", statistic=value, high=high, detail=detail)


def n_bins(n: int) -> int:
    """5 below 1,200 test samples, then one for every 200, 10 at most: more bins see more, and cost samples."""
    return min(MOST_BINS, max(FEWEST_BINS, n // _SAMPLES_PER_BIN))


def _pairs(answers: TestAnswers) -> tuple[Floats, NDArray[np.bool_]]:
    """Confidences and whether they came true, [n, 1]; of each label where a sample has any number of them, [n, l]."""
    if answers.labels_per_sample == "one":
        return answers.confidences[:, None], answers.correct[:, None]
    names = all_labels(answers)
    return probabilities_of(answers, names), label_matrix(answers.labels, names, "many")


def binned_errors(confidences: Floats, right: NDArray[np.bool_], n_bins: int) -> BinnedErrors:
    """Puts pairs into bins of equal size.

    Args:
        confidences: [n, l], in [0, 1]; l pairs of each of n samples.
        right: [n, l], whether what they speak of came true.
        n_bins: At most n * l.
    """
    n, per_sample = confidences.shape
    order = np.argsort(confidences, axis=None, kind="stable")
    bins = np.empty(n * per_sample, dtype=np.int64)
    bins[order] = np.arange(n * per_sample) * n_bins // (n * per_sample)
    means = np.bincount(bins, confidences.ravel()) / np.bincount(bins)
    # The rarer event is counted, so that few of them are known for what they are: little to go by.
    is_sure = (means >= 0.5)[bins].reshape(n, per_sample)
    events, promised = np.where(is_sure, ~right, right).astype(np.float64), np.where(is_sure, 1 - confidences, confidences)
    cells = np.arange(n).repeat(per_sample) * n_bins + bins
    excess = np.bincount(cells, (events - promised).ravel(), n * n_bins).reshape(n, n_bins) / per_sample
    share = 1 / (n * per_sample)
    return BinnedErrors(
        observed=np.bincount(bins, events.ravel()) * share,
        expected=np.bincount(bins, promised.ravel()) * share,
        moments=excess.T @ excess / n**2,
        heaviest=1 / n,
    )


def error_upper_bound(bins: BinnedErrors, level: float) -> float:
    """The upper bound of the calibration error.

    The calibration error is the largest of 2^b mean excesses: that of the true direction (too many or too few rare events) of each bin. It
    is below a limit exactly where all of them are, so all are bounded, each at the full level, and the highest bound is returned: whichever
    direction is the true one, its own bound is too low with probability 1 - `level` at most (intersection-union test, Berger 1982). The
    mean excess of one fixed direction has no bias, so none has to be removed.

    One direction adds the bins with too many events and subtracts the others; the bounds of the two parts (`pipelines.mean_bounds`) are
    joined by the method of variance estimates recovery (Zou and Donner 2008, https://doi.org/10.1002/sim.3095).

    Args:
        bins: b bins.
        level: One-sided.
    """
    added = np.array(list(product([0.0, 1.0], repeat=len(bins.observed))))  # [2^b, b]
    left = 1 - added
    more, less = added @ bins.observed, left @ bins.observed
    moments_more, moments_less = _quadratic(added, bins.moments, added), _quadratic(left, bins.moments, left)
    room_above = np.where(added.any(axis=1), upper_bound(more, moments_more, bins.heaviest, level) - more, 0.0)
    room_below = less - lower_bound(less, moments_less, level)
    # Within a sample the two may go against each other; that they go together is not relied on.
    opposed = np.minimum(_quadratic(added, bins.moments, left), 0)
    norm = np.sqrt(np.maximum(moments_more * moments_less, np.finfo(float).tiny))
    width = np.sqrt(room_above**2 + room_below**2 - 2 * np.maximum(opposed / norm, -1) * room_above * room_below)
    excess = (2 * added - 1) @ (bins.observed - bins.expected)
    return float(np.clip((excess + width).max(), 0, 1))


def _quadratic(left: Floats, moments: Floats, right: Floats) -> Floats:
    return np.asarray(np.einsum("sb,bc,sc->s", left, moments, right))


def debiased_error(bins: BinnedErrors) -> float:
    """The calibration error without most of the bias of |.|: twice the measured error less what noise would make of it.

    As by Kumar et al. 2019 (section 6), whose resampling is replaced by the mean of |normal| (the folded normal distribution).

    Returns:
        In [0, 1].
    """
    from scipy.special import ndtr

    excess, noise = np.abs(bins.observed - bins.expected), np.maximum(bins.noise, np.finfo(float).tiny)
    ratio = excess / noise
    expected = noise * np.sqrt(2 / np.pi) * np.exp(-(ratio**2) / 2) + excess * (2 * ndtr(ratio) - 1)
    return float(np.clip((2 * excess - expected).sum(), 0, 1))


def _outcome(rule: CalibrationGate, bins: BinnedErrors, value: float, high: float) -> tuple[Outcome, str]:
    if high <= rule.max_error:
        return "pass", f"and {percent(rule.max_error)} are allowed"
    best = error_upper_bound(BinnedErrors(bins.expected, bins.expected, bins.moments, bins.heaviest), rule.level)
    if value <= rule.max_error < best:
        few = f"with so few samples not even perfect confidences would show {percent(rule.max_error)}"
        return "insufficient_data", f"and {few}: label more test samples"
    return "refuse", f"which is above the {percent(rule.max_error)} that are allowed"


def _decision(rule: CalibrationGate, n: int, outcome: Outcome, reason: str, **shown: object) -> Decision:
    return Decision.model_validate(
        {
            "gate": "calibration",
            "condition": f"a calibration error of at most {percent(rule.max_error)}",
            "outcome": outcome,
            "statistic": None,
            "level": rule.level,
            "n": n,
            "threshold": rule.max_error,
            "reason": f"{reason}.",
            **shown,
        }
    )
