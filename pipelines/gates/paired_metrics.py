"""Macro-F1 and AUROC of two models on the same test samples, and a one-sided test of their difference.

Neither metric is a mean over samples, but each is nearly one: a sample's *effect* is what it adds to the metric to first order (its
influence; of AUROC these are the structural components of DeLong, DeLong and Clarke-Pearson 1988, https://doi.org/10.2307/2531595, with
mid-ranks as in Sun and Xu 2014, https://doi.org/10.1109/LSP.2014.2337313). The difference of the two models' effects on one sample
takes account of the pairing, and of what one sample does to several labels.

The usual test divides the difference by the spread of the effects that were seen. Where the candidate fails seldom but badly, a test set
may hold no such failure, the spread looks small, and a worse candidate is promoted far too often, as by every bootstrap, which
resamples what was seen (docs/gates.md has the numbers). So the spread is that of the nearest distribution in which the null hypothesis
is true: what was seen, mixed with just so many samples of the largest possible loss that the mean difference is the tested one. For
accuracy this is nearly Tango's score; the idea of a point that was not seen is that of adjusted empirical likelihood (Chen, Variyath and
Abraham 2008, https://doi.org/10.1198/106186008X321068). Half of one such loss is taken off as a continuity correction.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Metric = Literal["macro_f1", "auroc"]
Floats = NDArray[np.float64]

_BOUND_TOLERANCE = 1e-5


@dataclass(frozen=True, eq=False)
class Scored:
    """What the metric is made from: n samples, l labels, both at least 1.

    Attributes:
        metric: Which one.
        labels: [l], names of the columns.
        targets: bool [n, l], true where the sample has the label.
        candidate, champion: float64 [n, l]: for `macro_f1` 1 where the model gave the label, else 0; for `auroc` the label's probability, 0
            in the column of a label that the model does not have.
    """

    metric: Metric
    labels: tuple[str, ...]
    targets: NDArray[np.bool_]
    candidate: Floats
    champion: Floats

    def where(self, mask: NDArray[np.bool_]) -> Scored:
        """The samples that the mask [n] keeps."""
        return replace(self, targets=self.targets[mask], candidate=self.candidate[mask], champion=self.champion[mask])

    @property
    def n_with(self) -> NDArray[np.int64]:
        """[l]: samples that have the label."""
        return np.asarray(self.targets.sum(axis=0))

    @property
    def tie(self) -> Scored:
        """A candidate that answers exactly as the champion does."""
        return replace(self, candidate=self.champion)

    @property
    def swapped(self) -> Scored:
        """The champion's view."""
        return replace(self, candidate=self.champion, champion=self.candidate)


@dataclass(frozen=True, eq=False)
class Difference:
    """Candidate minus champion.

    Attributes:
        candidate, champion: The metric of each, in [0, 1].
        variance: Of the effects, each in units of the metric times n.
        largest_loss: What one sample that is lost as badly as can be takes off, in the same units, above 0.
        n: Samples.
    """

    candidate: float
    champion: float
    variance: float
    largest_loss: float
    n: int

    @property
    def value(self) -> float:
        """The difference, in [-1, 1]."""
        return self.candidate - self.champion

    def p_value(self, difference: float) -> float:
        """One-sided p-value of H0: the true difference is at most `difference`, in [-1, 1]."""
        from scipy.special import ndtr

        share = (self.value - difference) / (self.value + self.largest_loss)
        share = min(max(share, 0.0), 1.0)
        between = share * (1 - share) * (self.value + self.largest_loss) ** 2
        spread = math.sqrt(((1 - share) * self.variance + between) / self.n)
        excess = self.value - difference - self.largest_loss / (2 * self.n)
        if spread == 0:
            return 0.0 if excess > 0 else 1.0
        return float(ndtr(-excess / spread))

    def lower_bound(self, level: float, threshold: float) -> float:
        """Of the difference, one-sided: at or above `threshold` exactly where the p-value at it is at most 1 - level."""
        excluded, possible = -1.0, self.value
        trial = threshold if excluded < threshold < possible else (excluded + possible) / 2
        while possible - excluded > _BOUND_TOLERANCE:
            if self.p_value(trial) <= 1 - level:
                excluded = trial
            else:
                possible = trial
            trial = (excluded + possible) / 2
        return excluded


def compare(scored: Scored) -> Difference:
    """The difference of the two models, with what a test of it needs.

    Labels that the metric is not defined for do not count: of macro-F1 those that no sample has, of AUROC also those that all have.

    Args:
        scored: At least one of its labels counts.
    """
    counted = countable(scored)
    columns = (scored.targets[:, counted], scored.candidate[:, counted], scored.champion[:, counted])
    return _compare_f1(*columns) if scored.metric == "macro_f1" else _compare_auroc(*columns)


def countable(scored: Scored) -> NDArray[np.bool_]:
    """[l]: whether the metric is defined for the label on these samples."""
    some = scored.n_with > 0
    return some if scored.metric == "macro_f1" else some & (scored.n_with < len(scored.targets))


def _compare_f1(targets: NDArray[np.bool_], candidate: Floats, champion: Floats) -> Difference:
    n, n_labels = targets.shape
    f1, size, effects = _f1_effects(targets, candidate)
    champion_f1, champion_size, champion_effects = _f1_effects(targets, champion)
    # A sample that the champion has right: its label missed, and another given in its place.
    missed = f1 / size + (2 - 2 * champion_f1) / champion_size
    return Difference(
        candidate=float(f1.mean()),
        champion=float(champion_f1.mean()),
        variance=float(((effects - champion_effects) ** 2).mean()),
        largest_loss=_largest_loss(targets, missed, f1 / size) * n / n_labels,
        n=n,
    )


def _f1_effects(targets: NDArray[np.bool_], given: Floats) -> tuple[Floats, Floats, Floats]:
    # F1 of a label is 2 hits / size, size being the samples that have it and those that were given it.
    hit = targets * given
    size = targets.sum(axis=0) + given.sum(axis=0)
    f1 = 2 * hit.sum(axis=0) / size
    n, n_labels = targets.shape
    weights = n / (n_labels * size)
    effects = hit @ (2 * weights) - targets @ (f1 * weights) - given @ (f1 * weights)
    return f1, size, effects


def _compare_auroc(targets: NDArray[np.bool_], candidate: Floats, champion: Floats) -> Difference:
    n, n_labels = targets.shape
    n_with = targets.sum(axis=0)
    areas, champion_areas, effects = np.zeros(n_labels), np.zeros(n_labels), np.zeros(n)
    for label in range(n_labels):
        areas[label], gained = _area_effects(targets[:, label], candidate[:, label])
        champion_areas[label], lost = _area_effects(targets[:, label], champion[:, label])
        effects += (gained - lost) / n_labels
    return Difference(
        candidate=float(areas.mean()),
        champion=float(champion_areas.mean()),
        variance=float((effects**2).mean()),
        # From the top of its label's samples to the bottom, and to the top of another's.
        largest_loss=_largest_loss(targets, 1 / n_with, 1 / (n - n_with)) * n / n_labels,
        n=n,
    )


def _area_effects(targets: NDArray[np.bool_], scores: Floats) -> tuple[float, Floats]:
    from scipy.stats import rankdata

    n, n_with = len(targets), int(targets.sum())
    among_all, below = rankdata(scores), np.empty(n)
    for side in (targets, ~targets):
        below[side] = among_all[side] - rankdata(scores[side])  # samples of the other side with a lower score; ties count half
    placement = np.where(targets, below / (n - n_with), 1 - below / n_with)
    area = float(placement[targets].mean())
    return area, np.asarray((placement - area) * n / np.where(targets, n_with, n - n_with))


def _largest_loss(targets: NDArray[np.bool_], missed: Floats, given_wrongly: Floats) -> float:
    # Over the samples: all labels that it has missed, and the worst of the others given.
    return float((targets @ missed + np.where(targets, 0.0, given_wrongly).max(axis=1)).max())
