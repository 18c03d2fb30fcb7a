"""Augmentation of texts: tokens that are left out at random (word dropout, Iyyer et al. 2015, https://aclanthology.org/P15-1162).

We differ in leaving out tokens, not words, and in never leaving out the first and the last one of a text, which many tokenisers add.
Letters for shapes: b batch, l token ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pipelines.core.modalities.text import PADDING_ID

if TYPE_CHECKING:
    import torch

    from pipelines.config import AugmentSection

# Of every token, at magnitude 1. Iyyer et al. found 0.3 to be best.
_LARGEST_SHARE = 1 / 3


def drop_tokens(batch: torch.Tensor, section: AugmentSection, seeds: Sequence[int]) -> torch.Tensor:
    """Leaves tokens out; what follows moves up, and padding takes the place at the end.

    Args:
        batch: int64 [b, l], padded with -1.
        section: Policy and magnitude.
        seeds: One for each text: its change depends on nothing else.

    Returns:
        The same shape; the batch itself under another policy.
    """
    if section.policy != "token_dropout":
        return batch
    import torch

    rows = batch.cpu().numpy().copy()
    for row, seed in zip(rows, seeds, strict=True):
        n_tokens = int(np.count_nonzero(row != PADDING_ID))
        kept = np.random.default_rng(seed).random(n_tokens) >= section.magnitude * _LARGEST_SHARE
        kept[[0, -1]] = True
        left = row[:n_tokens][kept]
        row[:] = PADDING_ID
        row[: len(left)] = left
    return torch.from_numpy(rows).to(batch.device)
