"""How well a backbone suits a task, without training: LogME and H-score of its features.

LogME   log evidence of Bayesian linear regressions from the features to each label (You et al. 2021, https://arxiv.org/abs/2102.11005)
H-score share of the features' variation that the labels explain (Bao et al. 2019, https://doi.org/10.1109/ICIP.2019.8803726), with the
        covariance shrunk as in Ibrahim et al. 2022, https://arxiv.org/abs/2110.06893

Both need one eigendecomposition of the features' Gram matrix, in float64, on its smaller side.
Letters for shapes: n samples, d features, k labels, r rank of the features.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.core.errors import DataError
from pipelines.training.blas_threads import one_thread_for_few
from pipelines.training.scaling import refuse_not_finite

Floats = NDArray[np.float64]
# Natural logarithm of the ratio of prior to noise precision, beyond the features' own scale: there the evidence is flat to 1e-10.
_MARGIN = 25.0
_GRID_STEP = 0.5
# A label that is exactly linear in the features (identical samples suffice) has infinite evidence; this share of noise bounds it.
_LEAST_UNEXPLAINED_FRAC = 1e-12


def log_me(features: NDArray[np.floating], targets: NDArray[Any]) -> float:
    """The mean over labels of the maximal log evidence per sample; higher suits better.

    Each label's 0/1 column y has the model y = F w + noise, w ~ N(0, 1/alpha), noise ~ N(0, 1/beta); the evidence is maximised over
    alpha and beta. We differ from the authors' fixed-point code in three ways. For a given ratio alpha / beta the best beta has a closed
    form, so that the maximum is found in one variable, to 1e-8 and also where it lies at 0 or infinity and the fixed point does not
    arrive; nothing (there 1e-5) is added to denominators. With fewer samples than features the log determinant keeps its d - n terms in
    alpha, which the code leaves out. A label that is exactly linear in the features is taken to have 1e-12 of noise. Labels that all
    samples or none have are left out of the mean: nothing is to be learnt of them.

    Args:
        features: [n, d], as they come from the backbone, neither centred nor scaled.
        targets: One label a sample: integers [n]. Many: [n, k] of 0 and 1.

    Raises:
        DataError: A feature is not finite, or no label divides the samples.
    """
    columns = _dividing_columns(features, targets)
    with one_thread_for_few(features.size):
        spectrum = _spectrum(np.asarray(features, dtype=np.float64), columns)
    evidences = [
        _max_log_evidence(spectrum.eigenvalues, spectrum.projections[:, number] ** 2, float((columns[:, number] ** 2).sum()), len(columns))
        for number in range(columns.shape[1])
    ]
    return float(np.mean(evidences))


def h_score(features: NDArray[np.floating], targets: NDArray[Any]) -> float:
    """The trace of cov(features)^-1 cov(E[features | label]); higher suits better.

    The covariance is shrunk towards a multiple of the identity by Ledoit and Wolf's amount a, and the result multiplied by 1 - a: without
    that every set of features scores k - 1 as soon as it has as many features as samples. The amount goes to 0 as n grows. We differ in
    dividing both covariances by n, and in taking for many labels a sample the mean of the scores of each label against its absence.

    Args:
        features: [n, d].
        targets: One label a sample: integers [n]. Many: [n, k] of 0 and 1.

    Returns:
        Between 0 (features that do not differ between labels, or not at all) and k - 1; for many labels at most 1.

    Raises:
        DataError: A feature is not finite, or no label divides the samples.
    """
    columns = _dividing_columns(features, targets)
    n, d = features.shape
    raw = np.asarray(features, dtype=np.float64)
    centred = raw - raw.mean(axis=0)
    # Rounding of the mean leaves a trace of what is constant.
    centred[:, np.ptp(raw, axis=0) == 0] = 0.0
    with one_thread_for_few(features.size):
        spectrum = _spectrum(centred, columns)
    variances = spectrum.eigenvalues / n
    shrinkage = _shrinkage(variances, (centred**2).sum(axis=1), d)
    shrunk = (1 - shrinkage) * variances + shrinkage * variances.sum() / d
    # The squared coordinates of each label's mean in the eigenbasis, times the label's share of the samples.
    counts = columns.sum(axis=0)
    between = variances[:, None] * spectrum.projections**2 / counts
    per_label = (1 - shrinkage) * (between / shrunk[:, None]).sum(axis=0)
    if np.ndim(targets) == 1:
        return float(per_label.sum())
    # The mean without the label lies opposite to that with it: both sides together.
    return float((per_label * (1 + counts / (n - counts))).mean())


def order_by_transferability(log_me: Sequence[float], h_score: Sequence[float]) -> list[int]:
    """Places of the candidates, the most promising first: by the mean of the two ranks, ties by LogME, then by place.

    Args:
        log_me: One for each candidate.
        h_score: In the same order.
    """
    from scipy.stats import rankdata

    ranks = rankdata(-np.asarray(log_me)) + rankdata(-np.asarray(h_score))
    return sorted(range(len(ranks)), key=lambda place: (ranks[place], -log_me[place], place))


@dataclass(frozen=True)
class _Spectrum:
    """Of features F = U S V^T: the squared singular values [r], and U^T of the label columns [r, k]."""

    eigenvalues: Floats
    projections: Floats


def _spectrum(features: Floats, columns: Floats) -> _Spectrum:
    wide = features.shape[1] > features.shape[0]
    gram = features @ features.T if wide else features.T @ features
    eigenvalues, vectors = np.linalg.eigh(gram)
    kept = eigenvalues > max(features.shape) * np.finfo(np.float64).eps * max(float(eigenvalues[-1]), 0.0)
    eigenvalues, vectors = eigenvalues[kept], vectors[:, kept]
    if wide:
        return _Spectrum(eigenvalues, vectors.T @ columns)
    return _Spectrum(eigenvalues, vectors.T @ (features.T @ columns) / np.sqrt(eigenvalues)[:, None])


def _max_log_evidence(eigenvalues: Floats, explained: Floats, total: float, n: int) -> float:
    """Per sample. `explained`: squared projections of the label column [r], of its squared length `total`."""
    from scipy.optimize import minimize_scalar

    unexplained = max(total - float(explained.sum()), _LEAST_UNEXPLAINED_FRAC * total) if eigenvalues.size < n else 0.0

    def negative(log_ratio: float) -> float:
        # Formula 2 of the paper at alpha = ratio * beta and beta = n / residual, its best value for this ratio.
        kept = 1 / (1 + eigenvalues * math.exp(-log_ratio))
        residual = unexplained + float((explained * kept).sum())
        return 0.5 * (math.log(residual / n) + 1 + math.log(2 * math.pi)) - 0.5 * float(np.log(kept).sum()) / n

    if not eigenvalues.size:
        return -negative(0.0)
    low, high = math.log(eigenvalues.min()) - _MARGIN, math.log(eigenvalues.sum()) + _MARGIN
    grid = np.linspace(low, high, math.ceil((high - low) / _GRID_STEP))
    # There may be two maxima, one of them without any signal.
    best = grid[int(np.argmin([negative(value) for value in grid]))]
    refined = minimize_scalar(negative, bounds=(best - _GRID_STEP, best + _GRID_STEP), method="bounded", options={"xatol": 1e-7})
    return -min(float(refined.fun), negative(best))


def _shrinkage(variances: Floats, squared_lengths: Floats, d: int) -> float:
    """Ledoit and Wolf's amount, in [0, 1] (2004, https://doi.org/10.1016/S0047-259X(03)00096-4)."""
    mean = float(variances.sum()) / d
    norm = float((variances**2).sum())
    spread = norm - d * mean**2
    noise = (float((squared_lengths**2).mean()) - norm) / len(squared_lengths)
    return 1.0 if spread <= 0 else min(max(noise, 0.0) / spread, 1.0)


def _dividing_columns(features: NDArray[np.floating], targets: NDArray[Any]) -> Floats:
    """0/1 columns [n, k] of the labels that some samples have and some have not."""
    refuse_not_finite(features)
    columns = np.asarray(targets)[:, None] == np.unique(targets) if np.ndim(targets) == 1 else np.asarray(targets) > 0
    dividing = columns[:, columns.any(axis=0) & ~columns.all(axis=0)]
    if not dividing.size:
        raise DataError(
            got=f"{len(features)} samples that no label divides: all of them have the same.",
            allowed="samples of at least two classes, or a label that some have and some have not.",
            next_step="label samples of another class, or name one backbone in the conf file instead of letting them be ranked.",
        )
    return dividing.astype(np.float64)
