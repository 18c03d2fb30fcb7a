"""Wide embeddings cut down once, as a bundle cuts them, so that every test of a window costs the same whatever the backbone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from monitoring.reference import Reference
from monitoring.window import Window
from pipelines.core.signals import random_projection

# The most that `bundle.n_compact_embedding` allows: windows of an endpoint are never wider.
MAX_COLUMNS = 128


def narrowed(window: Window, reference: Reference) -> tuple[Window, Reference]:
    """Both with at most 128 columns of embedding: a fixed random projection, which keeps distances on average (Johnson-Lindenstrauss).

    Args:
        window: Of any width.
        reference: Of the same.
    """
    n_columns = reference.embeddings.shape[1]
    if n_columns <= MAX_COLUMNS or not window.n_requests:
        return window, reference
    projection = random_projection(n_columns, MAX_COLUMNS, 0).astype(np.float64)
    return replace(window, embeddings=window.embeddings @ projection), replace(reference, embeddings=reference.embeddings @ projection)
