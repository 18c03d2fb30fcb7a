"""What the endpoint logs of an input besides its prediction: simple statistics and a compact embedding.

The same functions make the drift reference in the bundle, so that a window and its reference are always comparable.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# The order is the order of the columns in a bundle's reference.
IMAGE_STATISTICS = ("brightness", "contrast", "sharpness", "dark_frac", "log2_pixels", "log2_aspect")


def image_statistics(image: Image.Image) -> NDArray[np.float32]:
    """Statistics of a decoded image, before resizing.

    Returns:
        float32 [6], in the order of `IMAGE_STATISTICS`: mean and standard deviation of the grey values in [0, 1]; mean absolute
        difference of neighbouring pixels; share of pixels below 0.5; log2 of the number of pixels; log2 of width over height.
    """
    grey = np.asarray(image.convert("L"), dtype=np.float32) / np.float32(255)
    return np.array(
        [
            grey.mean(),
            grey.std(),
            _mean_neighbour_difference(grey),
            (grey < 0.5).mean(),
            np.log2(grey.size),
            np.log2(grey.shape[1] / grey.shape[0]),
        ],
        dtype=np.float32,
    )


def _mean_neighbour_difference(grey: NDArray[np.float32]) -> float:
    across, down = np.abs(np.diff(grey, axis=1)), np.abs(np.diff(grey, axis=0))
    n_pairs = across.size + down.size
    return float((across.sum() + down.sum()) / n_pairs) if n_pairs else 0.0


def random_projection(n_features: int, n_compact: int, seed: int) -> NDArray[np.float32]:
    """An orthonormal random projection that keeps distances on average (Johnson-Lindenstrauss) and fits one log line.

    Unlike principal components it does not drop the directions in which the training data did not vary, where a new domain may show.

    Args:
        n_features: d, the backbone's feature count.
        n_compact: e, the logged size; at most d.
        seed: Of the draw; stored in the bundle.

    Returns:
        float32 [d, e] with orthonormal columns.
    """
    normal = np.random.default_rng(seed).standard_normal((n_features, n_compact))
    orthonormal, upper = np.linalg.qr(normal)
    return np.ascontiguousarray(orthonormal * np.sign(np.diag(upper))).astype(np.float32)
