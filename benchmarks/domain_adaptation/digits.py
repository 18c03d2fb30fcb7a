"""Handwritten digits: MNIST, USPS, scikit-learn's, and MNIST through another scanner."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from benchmarks.real_digits import _png, _read
from pipelines.domain_shift import shift_scanner

LABELS = tuple(str(digit) for digit in range(10))
PLAIN = {"kind": "lp_ft", "n_upper_blocks": None, "freeze_batch_norm": False, "epochs": 8, "batch_size": 32, "early_stopping_epochs": None}


def samples_of(domain: str, seed: int) -> Iterator[tuple[bytes, str]]:
    """PNG files and their digits."""
    images, labels = _images_of(domain)
    # One order for both sides of mnist -> scanner, taken from its two ends: no digit is in both.
    for place in np.random.default_rng(seed).permutation(len(images))[:: -1 if domain == "scanner" else 1]:
        content = _png(images[place])
        yield shift_scanner(content, int(place)) if domain == "scanner" else content, LABELS[labels[place]]


def _images_of(domain: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    if domain == "digits":
        from sklearn.datasets import load_digits

        digits = load_digits()
        return np.round(digits.images / 16 * 255).astype(np.uint8), digits.target.astype(np.int64)
    return _read({"mnist": "mnist_6k", "scanner": "mnist_6k", "usps": "usps"}[domain], ("train", "test"))
