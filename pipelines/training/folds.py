"""Folds of cross-validation that keep the share of every label, also where a sample has many.

Letters for shapes: n samples, k labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.training.label_counts import label_counts, refuse_rare_labels


def n_usable_folds(targets: NDArray[Any], labels: Sequence[str], wanted: int) -> int:
    """As many folds as are wanted, or as the rarest label has samples; at least 2.

    Args:
        targets: One label a sample: [n], its index. Many: [n, k] of 0 and 1.
        labels: The k names.
        wanted: At least 2.

    Raises:
        DataError: A label has fewer than 2 samples; or, with many labels a sample, all samples or none have it. The labels are named.
    """
    # Cross-validation learns from one sample of a label and judges by another.
    refuse_rare_labels(targets, labels, 2, "label more samples, remove the label from labels in the conf file, or use method prototype.")
    rarest = len(targets) if np.ndim(targets) == 2 else min(label_counts(targets, labels).values())
    return min(wanted, rarest)


def fold_numbers(targets: NDArray[Any], n_folds: int, seed: int) -> NDArray[np.int64]:
    """The fold that holds each sample out, [n] in [0, n_folds); each label's samples are spread evenly.

    Many labels a sample: iterative stratification (Sechidis et al. 2011, https://doi.org/10.1007/978-3-642-23808-6_10), the rarest label
    first.
    """
    if np.ndim(targets) == 2:
        return _iterative(np.asarray(targets) > 0, n_folds, np.random.default_rng(seed))
    # Shuffled, sorted by label and dealt like cards: neither a label's shares nor the folds' sizes differ by more than 1.
    shuffled = np.random.default_rng(seed).permutation(len(targets))
    numbers = np.empty(len(targets), dtype=np.int64)
    numbers[shuffled[np.argsort(targets[shuffled], kind="stable")]] = np.arange(len(targets)) % n_folds
    return numbers


def _iterative(has: NDArray[np.bool_], n_folds: int, rng: np.random.Generator) -> NDArray[np.int64]:
    # A last column that every sample has spreads those without any label too.
    has = np.concatenate([has, np.ones((len(has), 1), dtype=np.bool_)], axis=1)
    wanted = np.tile(has.sum(axis=0) / n_folds, (n_folds, 1))
    numbers = np.full(len(has), -1)
    order = rng.permutation(len(has))
    while (open_rows := order[numbers[order] < 0]).size:
        remaining = has[open_rows].sum(axis=0)
        label = int(np.where(remaining > 0, remaining, len(has) + 1).argmin())
        for row in open_rows[has[open_rows, label]]:
            fold = int(np.lexsort((wanted[:, -1], wanted[:, label]))[-1])
            numbers[row] = fold
            wanted[fold] -= has[row]
    return numbers
