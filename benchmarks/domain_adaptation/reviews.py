"""Product reviews, positive or negative: another kind of product is another domain."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator

import numpy as np

from benchmarks.real_digits import DATA

LABELS = ("negative", "positive")
# Three epochs are what few texts take before they are known by heart.
PLAIN = {"kind": "lp_ft", "n_upper_blocks": None, "epochs": 3, "batch_size": 16, "early_stopping_epochs": None}


def samples_of(domain: str, seed: int) -> Iterator[tuple[bytes, str]]:
    """Texts in UTF-8 and their labels."""
    with gzip.open(DATA / "amazon_reviews.csv.gz", "rt", encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["domain"] == domain and row["text"].strip()]
    for place in np.random.default_rng(seed).permutation(len(rows)):
        yield rows[place]["text"].encode(), rows[place]["label"]
