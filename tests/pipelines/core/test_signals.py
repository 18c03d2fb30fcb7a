from __future__ import annotations

import numpy as np
from PIL import Image

from pipelines.core.signals import IMAGE_STATISTICS, image_statistics, random_projection


def test_statistics_equal_a_slow_reference() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7), dtype=np.uint8)
    grey = pixels / 255
    differences = [abs(grey[y, x] - grey[y, x + 1]) for y in range(5) for x in range(6)]
    differences += [abs(grey[y, x] - grey[y + 1, x]) for y in range(4) for x in range(7)]
    expected = [grey.mean(), grey.std(), np.mean(differences), (grey < 0.5).mean(), np.log2(35), np.log2(7 / 5)]
    statistics = image_statistics(Image.fromarray(pixels))
    assert len(statistics) == len(IMAGE_STATISTICS)
    np.testing.assert_allclose(statistics, expected, atol=1e-6)


def test_one_pixel_has_statistics() -> None:
    assert np.isfinite(image_statistics(Image.new("L", (1, 1), 7))).all()


def test_projection_is_orthonormal_and_reproducible() -> None:
    projection = random_projection(64, 16, seed=3)
    np.testing.assert_allclose(projection.T @ projection, np.eye(16), atol=1e-6)
    np.testing.assert_array_equal(projection, random_projection(64, 16, seed=3))
    assert not np.allclose(projection, random_projection(64, 16, seed=4))
