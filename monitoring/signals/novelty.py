"""Out-of-distribution score: the distance to the nearest reference embeddings (Sun et al. 2022, https://arxiv.org/abs/2204.06507)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitoring.signals.distribution import DistributionTest
from monitoring.signals.rows import canonical_order

N_NEIGHBOURS = 5
# Of the pooled samples, the furthest so many are counted: few for a rare new kind of input, half of them where all have moved.
COUNTED_FRACS = (0.05, 0.2, 0.5)
# Of the reference, those that are nearer than what is called far.
_NEAR_FRAC = 0.95
_MAX_BANK = 2_000
_CHUNK = 2_048
_N_DIGITS = 4


@dataclass(frozen=True)
class NoveltyScores:
    """Distances to the same bank of reference embeddings, in the embedding's unit.

    Attributes:
        reference: Of the reference samples that are not in the bank.
        window: Of all requests, in their order.
    """

    reference: NDArray[np.float64]
    window: NDArray[np.float64]

    @property
    def far(self) -> NDArray[np.bool_]:
        """Whether each request is further than 95 % of the reference."""
        return np.asarray(self.window > np.quantile(self.reference, _NEAR_FRAC))


def novelty_scores(reference: NDArray[np.float64], window: NDArray[np.float64], rng: np.random.Generator) -> NoveltyScores:
    """Mean distance to the 5 nearest of a bank, which is half of the reference and at most 2,000.

    The other half is measured against the same bank, so on unchanged traffic its distances and the window's are exchangeable. The paper
    takes the k-th distance of normalised features; ours are the backbone's features as they are, whose length says something, too.

    Args:
        reference: [n, e], n at least 2.
        window: [m, e].
        rng: Of the halves.
    """
    order = canonical_order(reference)[rng.permutation(len(reference))]
    n_bank = min(len(order) // 2, _MAX_BANK)
    bank, rest = reference[order[:n_bank]], reference[order[n_bank:]]
    before, now = (_mean_distances(samples, bank) for samples in (rest, window))
    return NoveltyScores(before, now)


def _mean_distances(samples: NDArray[np.float64], bank: NDArray[np.float64]) -> NDArray[np.float64]:
    """[n] of samples [n, e], in chunks; rounded, so that equal samples are equally far wherever they stand."""
    centre, n_nearest = bank.mean(axis=0), min(N_NEIGHBOURS, len(bank))
    known = (bank - centre).astype(np.float32)
    known_norms = (known**2).sum(axis=1)
    found = []
    for start in range(0, len(samples), _CHUNK):
        chunk = (samples[start : start + _CHUNK] - centre).astype(np.float32)
        squared = (chunk**2).sum(axis=1)[:, None] + known_norms - 2 * chunk @ known.T
        nearest = np.partition(squared, n_nearest - 1, axis=1)[:, :n_nearest]
        found.append(np.sqrt(np.maximum(nearest, 0)).mean(axis=1))
    unit = float(np.sqrt(known_norms.mean())) or 1.0
    return np.asarray(np.round(np.concatenate(found).astype(np.float64) / unit, _N_DIGITS) * unit)


def far_share_test(scores: NoveltyScores) -> DistributionTest:
    """Does the window have more than its share of the furthest samples? Exact (Fisher, one-sided) at three cuts, with Bonferroni over them.

    The cuts are quantiles of the pooled distances, so who is counted depends on all samples alike.

    Returns:
        The statistic is the share of the window that is further than 95 % of the reference; about 0.05 on unchanged traffic.
    """
    pooled = np.sort(np.concatenate([scores.reference, scores.window]))
    cuts = [pooled[-max(1, round(frac * len(pooled)))] for frac in COUNTED_FRACS]
    p_value = len(cuts) * min(_tail_p_value(scores, float(cut)) for cut in cuts)
    method = f"share of the furthest, mean distance to {N_NEIGHBOURS} nearest of the reference, Fisher at three cuts"
    return DistributionTest(float(scores.far.mean()), min(1.0, max(p_value, float(np.finfo(float).tiny))), method)


def _tail_p_value(scores: NoveltyScores, cut: float) -> float:
    from scipy.stats import hypergeom

    n_beyond, n_beyond_window = int((scores.reference >= cut).sum()), int((scores.window >= cut).sum())
    n_window = len(scores.window)
    return float(hypergeom.sf(n_beyond_window - 1, len(scores.reference) + n_window, n_beyond + n_beyond_window, n_window))
