"""Probabilities of labels by probes that never saw the sample: cross-validation over all samples, whatever their split.

Letters for shapes: n samples, d features, k labels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipelines.config import ProbeMethod
from pipelines.training.folds import fold_numbers, n_usable_folds
from pipelines.training.probe import fit_probe

_N_FOLDS = 5
# One strength, not a search: wrong labels are found as well, at a tenth of the time.
_STRENGTH = 0.1


def out_of_sample_probabilities(
    features: NDArray[np.float32], targets: NDArray[np.int64], labels: Sequence[str], seed: int
) -> NDArray[np.float64]:
    """Each sample's probabilities [n, k] by a probe that learnt from the other folds.

    The probes are thrown away: test samples are among what they learn from, so nothing of them may ship.

    Args:
        features: [n, d].
        targets: [n], indices of the labels.
        labels: The k names.
        seed: Orders the folds.

    Raises:
        DataError: A label has fewer than 2 samples, or a feature is not finite.
    """
    from scipy.special import softmax

    numbers = fold_numbers(targets, n_usable_folds(targets, labels, _N_FOLDS), seed)
    probabilities = np.empty((len(targets), len(labels)), dtype=np.float64)
    for number in range(numbers.max() + 1):
        held_out = numbers == number
        probe = fit_probe(features[~held_out], targets[~held_out], labels, ProbeMethod(strengths=(_STRENGTH,)), seed)
        logits = features[held_out].astype(np.float64) @ probe.weight.astype(np.float64).T + probe.bias
        probabilities[held_out] = softmax(logits, axis=1)
    return probabilities
