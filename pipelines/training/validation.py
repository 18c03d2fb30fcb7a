"""How good logits are on the validation split: what every choice between epochs, ways and backbones is made by.

Letters for shapes: n samples, k labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.calibrate import fit_temperature
from pipelines.core.errors import DataError
from pipelines.core.heads import softmax
from pipelines.core.label_sets import LabelsPerSample

_LEAST_PROBABILITY = 1e-300


@dataclass(frozen=True)
class ValidationResult:
    """What logits are worth on n samples after calibration.

    Attributes:
        log_loss: Mean of `losses`; infinite where a logit is not finite.
        accuracy: Share of `correct`, in [0, 1].
        losses: float64 [n], in nats.
        correct: bool [n].
    """

    log_loss: float
    accuracy: float
    losses: NDArray[np.float64]
    correct: NDArray[np.bool_]


def measure(logits: NDArray[np.floating], targets: NDArray[Any], labels_per_sample: LabelsPerSample) -> ValidationResult:
    """Measures at the temperature that suits the logits best: what would ship after calibration.

    An uncalibrated loss would punish a network for confidence that calibration takes back, and so choose an earlier epoch than it should.

    Args:
        logits: [n, k]; with values that are not finite every loss is infinite and no such row is correct.
        targets: One label a sample: int64 [n]. Many: [n, k] of 0 and 1.
        labels_per_sample: `many`: a sample's loss is the mean binary log loss over its labels, and it is correct when the exact set is.

    Raises:
        DataError: There is no sample.
    """
    if len(targets) == 0:
        raise DataError(
            got="a validation split without samples.",
            allowed="at least one sample to choose by.",
            next_step="label more samples, or raise split.validation in the conf file.",
        )
    with np.errstate(invalid="ignore"):
        correct = _correct(logits, targets, labels_per_sample) & np.isfinite(logits).all(axis=1)
    if np.isfinite(logits).all():
        losses = _one_label(logits, targets) if labels_per_sample == "one" else _many_labels(logits, targets)
    else:
        losses = np.full(len(targets), np.inf)
    return ValidationResult(float(losses.mean()), float(correct.mean()), losses, correct)


def _correct(logits: NDArray[np.floating], targets: NDArray[Any], labels_per_sample: LabelsPerSample) -> NDArray[np.bool_]:
    if labels_per_sample == "one":
        return np.asarray(logits.argmax(axis=1) == targets)
    return np.asarray(((logits > 0) == (targets > 0)).all(axis=1))


def _one_label(logits: NDArray[np.floating], targets: NDArray[np.int64]) -> NDArray[np.float64]:
    probabilities = softmax(logits, fit_temperature(logits, targets))
    return np.asarray(-np.log(np.maximum(probabilities[np.arange(len(targets)), targets], _LEAST_PROBABILITY)))


def _many_labels(logits: NDArray[np.floating], targets: NDArray[Any]) -> NDArray[np.float64]:
    # The loss of a label is log(1 + exp(-margin)); the margin is positive on the side of the truth.
    margins = np.where(targets > 0, 1.0, -1.0) * np.asarray(logits, dtype=np.float64)
    return np.asarray(np.logaddexp(0.0, -margins / fit_temperature(logits, targets, "many")).mean(axis=1))
