"""Anomalies by what normal samples look like: for one class alone, or where the other one (fraud, defects) is too rare to be learnt.

Scores are distances in the features of a pretrained backbone; the threshold is an order statistic of scores that were held out, so its
false-alarm rate is exact whatever the scores' distribution is.

Letters for shapes: n normal samples, m samples that are scored, d features.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipelines.core.errors import DataError
from pipelines.gates.label_losses import auroc_loss
from pipelines.intervals import ProportionInterval, clopper_pearson
from pipelines.mean_bounds import lower_bound, upper_bound

Floats = NDArray[np.float64]
_LEAST_NORMAL = 2


class AnomalyScorer(Protocol):
    """Says how unlike the normal samples others are."""

    def scores(self, features: NDArray[np.floating]) -> Floats:
        """[m], higher is stranger, of features [m, d]."""


@dataclass(frozen=True, eq=False)
class MahalanobisScorer:
    """Distance from the mean of the normal features in units of their spread in that direction.

    Lee et al. 2018 (https://arxiv.org/abs/1807.03888), of one class, with the covariance shrunk as Ledoit and Wolf (2004,
    https://doi.org/10.1016/S0047-259X(03)00096-4) found best, since there are often fewer samples than features.

    Attributes:
        mean: [d].
        precision: [d, d], the inverse of the shrunk covariance of standardised features.
        spread: [d], of the normal features; 1 where a feature never changes.
        shrinkage: Share of the identity in that covariance, in [0, 1].
    """

    mean: Floats
    precision: Floats
    spread: Floats
    shrinkage: float

    @classmethod
    def fitted(cls, normal: NDArray[np.floating]) -> MahalanobisScorer:
        """From normal features [n, d].

        Raises:
            DataError: Fewer than 2 samples, or a feature that is not finite.
        """
        from sklearn.covariance import LedoitWolf

        rows = _checked(normal)
        spread = rows.std(axis=0)
        spread = np.where(spread > 1e-12 * np.maximum(1.0, np.abs(rows.mean(axis=0))), spread, 1.0)
        found = LedoitWolf().fit(rows / spread)
        return cls(rows.mean(axis=0), np.asarray(found.precision_), spread, float(found.shrinkage_))

    def scores(self, features: NDArray[np.floating]) -> Floats:
        """As `AnomalyScorer`."""
        away = (np.asarray(features, dtype=np.float64) - self.mean) / self.spread
        squares = np.einsum("ij,jk,ik->i", away, self.precision, away)
        return np.asarray(np.sqrt(np.maximum(squares, 0.0)))


@dataclass(frozen=True, eq=False)
class NearestNeighbourScorer:
    """Distance to the k-th nearest normal sample, of features that are scaled to length 1.

    Ramaswamy et al. 2000, https://doi.org/10.1145/335191.335437; on deep features, with that scaling, Sun et al. 2022,
    https://arxiv.org/abs/2204.06507.

    Attributes:
        index: Scikit-learn's `NearestNeighbors` of the normal features.
        n_neighbours: k.
    """

    index: Any
    n_neighbours: int

    @classmethod
    def fitted(cls, normal: NDArray[np.floating], n_neighbours: int = 1) -> NearestNeighbourScorer:
        """From normal features [n, d].

        Raises:
            DataError: Fewer than 2 samples or than `n_neighbours`, or a feature that is not finite.
        """
        from sklearn.neighbors import NearestNeighbors

        rows = _checked(normal)
        if not 1 <= n_neighbours <= len(rows):
            raise DataError(
                got=f"n_neighbours {n_neighbours} for {len(rows)} normal samples.",
                allowed=f"1 to {len(rows)}.",
                next_step="lower it, or give more normal samples.",
            )
        return cls(NearestNeighbors(n_neighbors=n_neighbours).fit(_of_length_1(rows)), n_neighbours)

    def scores(self, features: NDArray[np.floating]) -> Floats:
        """As `AnomalyScorer`; none of the scored samples may be among those it was fitted on, whose distance to themselves is 0."""
        distances, _ = self.index.kneighbors(_of_length_1(np.asarray(features, dtype=np.float64)))
        return np.asarray(distances[:, -1], dtype=np.float64)


@dataclass(frozen=True)
class AlarmThreshold:
    """A score above which an alarm is raised, and what is known of how often that is a false one.

    Attributes:
        score: The threshold itself; a normal sample's score is above it with probability `rate` at most.
        rate: The stated false-alarm rate, over calibration samples and new ones together.
        expected_rate: What the rate is on average, given scores without ties: at most `rate`.
        rate_at_confidence: What the rate *with this very threshold* does not exceed, with probability `confidence`.
        confidence: Of it.
        n: Calibration samples.
    """

    score: float
    rate: float
    expected_rate: float
    rate_at_confidence: float
    confidence: float
    n: int


def alarm_threshold(held_out: NDArray[np.floating], rate: float, confidence: float = 0.95) -> AlarmThreshold:
    """The smallest calibration score that keeps the false-alarm rate: split conformal prediction of one class.

    Of n + 1 exchangeable scores the last is above the k-th smallest of the others with probability (n + 1 - k) / (n + 1) at most, whatever
    their distribution; k = ceil((1 - rate) (n + 1)) (Vovk et al. 2005, https://doi.org/10.1007/b106715; Bates et al. 2023,
    https://arxiv.org/abs/2104.08279). Given the threshold, the rate is Beta(n + 1 - k, k) distributed or smaller: hence
    `rate_at_confidence`.

    Args:
        held_out: [n], scores of normal samples that the scorer was not fitted on.
        rate: In (0, 1).
        confidence: In (0, 1).

    Raises:
        DataError: Too few samples: below 1 / rate - 1 not even their largest score keeps the rate; or a score is not finite.
    """
    from scipy.special import betaincinv

    scores = np.sort(np.asarray(held_out, dtype=np.float64))
    if not np.isfinite(scores).all():
        raise _not_finite(int((~np.isfinite(scores)).sum()))
    n = len(scores)
    # A hair less, lest 0.05 * 20 come out above 1.
    place = math.ceil((1 - rate) * (n + 1) - 1e-9)
    if place > n:
        needed = math.ceil(1 / rate - 1 - 1e-9)
        raise DataError(
            got=f"{n} held-out normal samples for a false-alarm rate of {rate:g}.",
            allowed=f"at least {needed}: with fewer no threshold keeps that rate.",
            next_step=f"hold out {needed - n} normal samples more, or allow a higher rate.",
        )
    upper = float(betaincinv(n + 1 - place, place, confidence))
    return AlarmThreshold(float(scores[place - 1]), rate, (n + 1 - place) / (n + 1), upper, confidence, n)


@dataclass(frozen=True)
class Detection:
    """How well anomalies are found.

    Attributes:
        auroc: With its interval; the chance that an anomaly scores higher than a normal sample.
        recall: Share of the anomalies above the threshold, with its interval.
        false_alarms: Share of the normal samples above it, with its interval.
        level: Of the intervals, two-sided.
    """

    auroc: ProportionInterval
    recall: ProportionInterval
    false_alarms: ProportionInterval
    level: float


def measure_detection(
    scores: NDArray[np.floating], is_anomaly: NDArray[np.bool_], threshold: AlarmThreshold, level: float = 0.95
) -> Detection:
    """Judges scores of samples that neither the scorer nor the threshold has seen.

    The interval of AUROC rests on DeLong's variance and the bounds of `pipelines.mean_bounds`; those of the two shares are exact.

    Args:
        scores: [m].
        is_anomaly: [m].
        threshold: Of `alarm_threshold`.
        level: In (0, 1).

    Raises:
        DataError: There is no anomaly or no normal sample among them, or a score is not finite.
    """
    values, flags = np.asarray(scores, dtype=np.float64), np.asarray(is_anomaly, dtype=bool)
    if not np.isfinite(values).all():
        raise _not_finite(int((~np.isfinite(values)).sum()))
    if flags.all() or not flags.any():
        raise DataError(
            got=f"{int(flags.sum())} anomalies and {int((~flags).sum())} normal samples.",
            allowed="at least one of each.",
            next_step="add labelled samples of the other kind: without them nothing can be measured.",
        )
    loss = auroc_loss(flags[:, None], values[:, None], exclusive=False)
    one_sided = (1 + level) / 2
    high_loss = float(upper_bound(loss.value, loss.variance, loss.heaviest, one_sided))
    low_loss = float(lower_bound(loss.value, loss.variance, one_sided))
    above = values > threshold.score
    return Detection(
        auroc=ProportionInterval(1 - loss.value, 1 - high_loss, 1 - low_loss, len(values)),
        recall=clopper_pearson(int(above[flags].sum()), int(flags.sum()), level),
        false_alarms=clopper_pearson(int(above[~flags].sum()), int((~flags).sum()), level),
        level=level,
    )


def _checked(normal: NDArray[np.floating]) -> Floats:
    rows = np.asarray(normal, dtype=np.float64)
    if len(rows) < _LEAST_NORMAL:
        raise DataError(
            got=f"{len(rows)} normal samples.",
            allowed=f"at least {_LEAST_NORMAL}; some hundreds say what is normal.",
            next_step="give more normal samples.",
        )
    if not np.isfinite(rows).all():
        raise _not_finite(int((~np.isfinite(rows)).any(axis=1).sum()))
    return rows


def _of_length_1(rows: Floats) -> Floats:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12))


def _not_finite(n_samples: int) -> DataError:
    return DataError(
        got=f"features or scores that are not finite, of {n_samples} samples.",
        allowed="finite ones.",
        next_step="look at these samples, and at the backbone that made the features.",
    )
