"""Draws of a few labels a class, the same for every contender."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Rows = list[tuple[str, str]]


def drawn(rows: Rows, n_train: int, n_validation: int, n_test: int, seed: int) -> dict[str, list[list[str]]]:
    """A draw by the seed: some of each class to learn from, some to choose by, of the rest some to judge by, in this order.

    Args:
        rows: Samples with their labels.
        n_train, n_validation: Of each class.
        n_test: Of each class, at most.
        seed: Of the order.
    """
    order = np.random.default_rng(seed).permutation(len(rows))
    parts: dict[str, list[list[str]]] = {"train": [], "validation": [], "test": []}
    for label in labels_of(rows):
        own = [list(rows[index]) for index in order if rows[index][1] == label]
        cut = n_train + n_validation
        parts["train"] += own[:n_train]
        parts["validation"] += own[n_train:cut]
        parts["test"] += own[cut : cut + n_test]
    return parts


def labels_of(rows: Sequence[tuple[str, str]]) -> list[str]:
    """In their order."""
    return sorted({label for _, label in rows})
