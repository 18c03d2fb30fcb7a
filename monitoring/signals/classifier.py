"""Classifier two-sample test (Lopez-Paz and Oquab 2017, https://arxiv.org/abs/1610.06545): can a classifier tell window from reference?

Letters for shapes: n reference samples, m window samples, e embedding size.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from monitoring.signals.distribution import DistributionTest
from monitoring.signals.rows import shuffled_rows

# Wider embeddings are cut down by a random projection: the fit grows with the cube of the columns.
_MAX_COLUMNS = 64
_RIDGE = 1e-2


def classifier_test(reference: NDArray[np.float64], window: NDArray[np.float64], rng: np.random.Generator) -> DistributionTest:
    """A linear discriminant on the embedding and its squares learns from half of both samples, and scores the other half.

    Under the null the held-out scores of both sides are exchangeable. They are compared by ranks (Mann-Whitney, one-sided, normal with
    ties corrected): its extreme tails are thinner than the normal's, so small p-values err on the safe side. The paper compares
    accuracies; ranks need no threshold and do not mind that one side is larger.

    Args:
        reference: [n, e], n at least 2; finite.
        window: [m, e], m at least 2; finite.
        rng: Of the halves and the projection.

    Returns:
        The statistic is the area under the ROC curve of the held-out scores, in [0, 1]; 0.5 is chance. The same for any order of rows.
    """
    from scipy.stats import mannwhitneyu

    before, now = held_out_scores(reference, window, rng)
    method = "linear discriminant on values and squares, held-out scores compared by ranks"
    if np.ptp(np.concatenate([before, now])) == 0:
        return DistributionTest(0.5, 1.0, method)
    # Scores that differ by rounding only are equal.
    unit = np.abs(np.concatenate([before, now])).max() * 1e-9
    result = mannwhitneyu(np.round(now / unit), np.round(before / unit), alternative="greater", method="asymptotic")
    p_value = float(result.pvalue) if np.isfinite(result.pvalue) else 1.0
    return DistributionTest(float(result.statistic) / (len(before) * len(now)), min(1.0, max(p_value, float(np.finfo(float).tiny))), method)


def held_out_scores(
    reference: NDArray[np.float64], window: NDArray[np.float64], rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scores of the halves that the classifier did not learn from, higher where it guesses `window`.

    Args:
        reference: [n, e].
        window: [m, e].
        rng: As in `classifier_test`.
    """
    sides = [shuffled_rows(samples, rng) for samples in (reference, window)]
    columns = _columns(sides, rng)
    direction = _discriminant(*(rows[: len(rows) // 2] for rows in columns))
    before, now = (rows[len(rows) // 2 :] @ direction for rows in columns)
    return before, now


def _columns(sides: list[NDArray[np.float64]], rng: np.random.Generator) -> list[NDArray[np.float64]]:
    """Standardised values and their squares. What is learnt from the held-out half, too, is the same for both sides: mean and spread."""
    n_columns = sides[0].shape[1]
    if n_columns > _MAX_COLUMNS:
        projection = rng.standard_normal((n_columns, _MAX_COLUMNS)) / np.sqrt(n_columns)
        sides = [rows @ projection for rows in sides]
    pooled = np.concatenate(sides)
    mean, spread = pooled.mean(axis=0), pooled.std(axis=0)
    standard = [(rows - mean) / np.where(spread > 0, spread, 1.0) for rows in sides]
    return [np.concatenate([rows, rows**2], axis=1) for rows in standard]


def _discriminant(reference: NDArray[np.float64], window: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fisher's direction with a ridge, by its normal equations."""
    centred = [rows - rows.mean(axis=0) for rows in (reference, window)]
    within = sum(rows.T @ rows for rows in centred) / max(1, len(reference) + len(window) - 2)
    ridge = _RIDGE * np.trace(within) / len(within) + 1e-12
    difference = window.mean(axis=0) - reference.mean(axis=0)
    return np.asarray(np.linalg.solve(within + ridge * np.eye(len(within)), difference))
