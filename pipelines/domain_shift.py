"""Another scanner: a seeded change of how the same digits look, for demonstrations and for tests of the monitor.

What changes is what a new device changes: resolution, polarity, stroke width, alignment and noise. The label stays.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageChops, ImageFilter

from pipelines.core.preprocess import ImagePreprocess, decode_image
from pipelines.grey_png import grey_png

SIZE_PX = 32
STROKE_FILTER_PX = 3
MAX_ANGLE_DEGREES = 15.0
NOISE_GREY_LEVELS = 12.0
_GREY = ImagePreprocess(color="L", height_px=SIZE_PX, width_px=SIZE_PX, mean=(0.0,), std=(1.0,))


def shift_scanner(png: bytes, seed: int) -> bytes:
    """Shows a digit as another scanner would.

    In this order: bicubic enlargement to 32 x 32, strokes thickened by a 3 x 3 maximum filter, a rotation by a uniform angle within
    15 degrees, black and white exchanged, Gaussian noise with a standard deviation of 12 grey levels.

    Args:
        png: An image file with light strokes on dark ground.
        seed: Of angle and noise, at least 0.

    Returns:
        An 8-bit grey PNG of 32 x 32 pixels; the same for the same arguments.

    Raises:
        DataError: The bytes are no image.
    """
    generator = np.random.default_rng(seed)
    large = decode_image(png, _GREY).resize((SIZE_PX, SIZE_PX), Image.Resampling.BICUBIC)
    thick = large.filter(ImageFilter.MaxFilter(STROKE_FILTER_PX))
    angle_degrees = generator.uniform(-MAX_ANGLE_DEGREES, MAX_ANGLE_DEGREES)
    turned = ImageChops.invert(thick.rotate(angle_degrees, Image.Resampling.BICUBIC, fillcolor=0))
    noisy = np.asarray(turned, dtype=np.float64) + generator.normal(0, NOISE_GREY_LEVELS, (SIZE_PX, SIZE_PX))
    return grey_png(np.rint(noisy.clip(0, 255)).astype(np.uint8))
