"""Looks at images before and after decoding: how many pixels a request asks for, and which of its images are no good."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipelines.core.errors import DataError
from serving.failures import RequestFailure, unprocessable

if TYPE_CHECKING:
    from pipelines.core.preprocess import ImagePreprocess

_MAX_NAMED_IMAGES = 10


def refuse_too_many_pixels(images: Sequence[bytes], max_pixels: int) -> None:
    """Adds up what the images' headers state, without decoding; an unreadable header counts nothing, as it will not decode.

    Raises:
        RequestFailure: 422.
    """
    n_pixels = sum(_stated_pixels(image) for image in images)
    if n_pixels > max_pixels:
        raise unprocessable(
            "too_many_pixels",
            f"the images of this request have {n_pixels} pixels together; the limit is {max_pixels}.",
            "scale them down, or send them in several requests.",
        )


def _stated_pixels(image: bytes) -> int:
    from PIL import Image

    from pipelines.core.preprocess import IMAGE_FORMATS

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(image), formats=IMAGE_FORMATS) as opened:
                return opened.width * opened.height
    except Image.DecompressionBombError:
        return 2**40  # PIL does not say how many; more than any limit
    except Exception:  # noqa: BLE001 - PIL's readers raise whatever damaged bytes lead to; decoding says what is wrong with them
        return 0


def undecodable_images(images: Sequence[bytes], spec: ImagePreprocess) -> RequestFailure:
    """Finds out which images of a refused request are to blame, and says it: 422."""
    problems = {index: problem for index, image in enumerate(images) if (problem := _problem_of(image, spec))}
    named = "; ".join(f"images[{index}]: {problem}" for index, problem in list(problems.items())[:_MAX_NAMED_IMAGES])
    more = len(problems) - _MAX_NAMED_IMAGES
    return unprocessable(
        "bad_image",
        f"{len(problems)} of {len(images)} images cannot be used: {named}{f'; and {more} more' if more > 0 else ''}",
        "open them in an image viewer, export them again, or leave them out; nothing of this request was answered.",
    )


def _problem_of(image: bytes, spec: ImagePreprocess) -> str | None:
    from pipelines.core.preprocess import decode_image, image_to_array

    try:
        image_to_array(decode_image(image, spec), spec)
    except DataError as error:
        return error.got
    return None
