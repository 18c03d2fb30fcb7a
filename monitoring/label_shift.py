"""Which classes has the window, if only their shares changed? Black box shift estimation (Lipton et al. 2018).

Letters for shapes: n reference samples, m window samples, k labels, b resamples.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from monitoring.reference import Reference
from monitoring.window import Window

Share = Annotated[float, Field(ge=0, le=1)]
_N_RESAMPLES = 200
# The joint table of answers and labels is solved for each resample.
_MAX_LABELS = 100
# Below, a label's column of the table is nearly a mix of the others', and the solution is noise.
_SMALLEST_SINGULAR_VALUE = 0.05
_TAIL = 0.025
_RIDGE = 1e-9


class ClassShare(BaseModel):
    """Share of a true class: in the reference, and in the window as far as its answers tell, with a 95 % interval."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str
    reference_frac: Share
    window_frac: Share
    low: Share
    high: Share


def estimate_class_shares(window: Window, reference: Reference, rng: np.random.Generator) -> tuple[ClassShare, ...] | None:
    """Shares of the true classes in the window, corrected for the classifier's confusions (https://arxiv.org/abs/1802.03916).

    Right if the inputs of each class are what they were and only the classes' shares changed; under any other change it answers a question
    that was not asked. The interval is a percentile bootstrap over both samples. Differs from the paper: shares below 0 are set to 0,
    and all are scaled to sum to 1.

    Args:
        window: At least one request.
        reference: Of the same bundle.
        rng: Of 200 resamples.

    Returns:
        One for each label, the largest change first. None where it cannot be told: a sample has any number of labels, there are more than
        100, a class is not in the reference, or the classifier cannot tell the classes apart.
    """
    n_labels = len(reference.labels)
    if reference.thresholds is not None or n_labels > _MAX_LABELS or window.n_requests == 0:
        return None
    joint = _joint(reference.predicted_indices, reference.true_indices, n_labels)
    if (joint.sum(axis=0) == 0).any() or _separation(joint) < _SMALLEST_SINGULAR_VALUE:
        return None
    answered = np.bincount(window.predicted_indices, minlength=n_labels)
    shares = _solve(joint[None], (answered / answered.sum())[None])[0]
    n_reference, n_window = reference.n_samples, window.n_requests
    tables = rng.multinomial(n_reference, joint.ravel() / n_reference, size=_N_RESAMPLES).reshape(-1, n_labels, n_labels)
    resampled = _solve(tables.astype(np.float64), rng.multinomial(n_window, answered / n_window, size=_N_RESAMPLES) / n_window)
    low, high = np.quantile(resampled, [_TAIL, 1 - _TAIL], axis=0)
    before = joint.sum(axis=0) / joint.sum()
    rows = [
        ClassShare(label=label, reference_frac=was, window_frac=now, low=min(lowest, now), high=max(highest, now))
        for label, was, now, lowest, highest in zip(
            reference.labels, before.tolist(), shares.tolist(), low.tolist(), high.tolist(), strict=True
        )
    ]
    return tuple(sorted(rows, key=lambda row: (-abs(row.window_frac - row.reference_frac), row.label)))


def _joint(predicted: NDArray[np.int64], true: NDArray[np.int64], n_labels: int) -> NDArray[np.float64]:
    counts = np.bincount(predicted * n_labels + true, minlength=n_labels**2)
    return counts.reshape(n_labels, n_labels).astype(np.float64)


def _separation(joint: NDArray[np.float64]) -> float:
    return float(np.linalg.svd(joint / joint.sum(axis=0), compute_uv=False)[-1])


def _solve(joint: NDArray[np.float64], answered_frac: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shares q [b, k] with P(answer | class) q = answered shares, for tables [b, k, k] and shares [b, k], by least squares."""
    by_class = joint / np.maximum(joint.sum(axis=1, keepdims=True), 1)
    turned = by_class.transpose(0, 2, 1)
    ridge = _RIDGE * np.eye(joint.shape[-1])  # a resample may miss a class
    solved = np.linalg.solve(turned @ by_class + ridge, turned @ answered_frac[..., None])[..., 0]
    shares = np.clip(solved, 0, None)
    return np.asarray(shares / np.maximum(shares.sum(axis=1, keepdims=True), _RIDGE))
