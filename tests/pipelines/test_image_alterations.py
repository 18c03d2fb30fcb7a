"""Each change of a picture against another way to compute it; and that opening and writing a file changes nothing."""

from __future__ import annotations

import colorsys
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import gaussian_filter

from pipelines.core.preprocess import ImagePreprocess, decode_image, image_to_pixels
from pipelines.image_alterations import blurred, brightened, cropped, flipped, jpeg, opened, png, rotated, shrunk, with_noise

GREY = ImagePreprocess(color="L", height_px=16, width_px=24, mean=(0.5,), std=(0.5,))
COLOUR = ImagePreprocess(color="RGB", height_px=16, width_px=24, mean=(0.5,) * 3, std=(0.5,) * 3)


def pixels(seed: int = 0, shape: tuple[int, ...] = (20, 30, 3)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def smooth(side: int) -> Image.Image:
    """A colour picture without fine detail."""
    rows, columns = np.mgrid[0:side, 0:side] / side
    values = np.stack([np.sin(3 * rows), np.cos(2 * columns), rows * columns], axis=-1)
    return Image.fromarray(np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8))


def file_of(image: Image.Image, file_format: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=file_format, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


def turned_photo() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return file_of(Image.fromarray(pixels()), "JPEG", exif=exif)


FILES = {
    "colour": file_of(Image.fromarray(pixels())),
    "grey": file_of(Image.fromarray(pixels(shape=(20, 30)))),
    "16 bits": file_of(Image.fromarray(pixels(shape=(20, 30)).astype(np.uint16) * 200)),
    "palette": file_of(Image.fromarray(pixels()).quantize(20)),
    "transparent": file_of(Image.fromarray(pixels(shape=(20, 30, 4)))),
    "transparent palette": file_of(Image.fromarray(pixels()).quantize(20), transparency=3),
    "grey and transparent": file_of(Image.fromarray(pixels(shape=(20, 30, 2)), mode=None).convert("LA")),
    "bits": file_of(Image.fromarray(pixels(shape=(20, 30))).convert("1")),
    "CMYK": file_of(Image.fromarray(pixels()).convert("CMYK"), "JPEG"),
    "turned by EXIF": turned_photo(),
}


@pytest.mark.parametrize("spec", [GREY, COLOUR], ids=["grey", "colour"])
@pytest.mark.parametrize("name", FILES)
def test_an_unaltered_picture_reaches_the_network_as_it_was(name: str, spec: ImagePreprocess) -> None:
    before = decode_image(FILES[name], spec)
    after = decode_image(png(opened(FILES[name], spec)), spec)
    assert after.size == before.size
    assert np.array_equal(np.asarray(after), np.asarray(before))


@pytest.mark.parametrize("color", ["L", "RGB"])
@pytest.mark.parametrize("change", ["blur", "noise", "brightness", "flip", "rotation"])
def test_a_change_of_nothing_changes_nothing(color: str, change: str) -> None:
    image = Image.fromarray(pixels()).convert(color)
    changes = {
        "blur": lambda: blurred(image, 0),
        "noise": lambda: with_noise(image, 0, np.random.default_rng(0)),
        "brightness": lambda: brightened(image, 0),
        "flip": lambda: flipped(flipped(image, "horizontal"), "horizontal"),
        "rotation": lambda: rotated(image, 0),
    }
    after = changes[change]()
    assert after.mode == color
    assert np.array_equal(np.asarray(after), np.asarray(image))


@pytest.mark.parametrize("sigma", [1.0, 3.0])
def test_the_blur_is_gaussian(sigma: float) -> None:
    values = pixels(shape=(60, 60))
    expected = gaussian_filter(values.astype(float), sigma, mode="nearest")
    assert np.abs(np.asarray(blurred(Image.fromarray(values), sigma), dtype=float) - expected).mean() < 2
    assert np.abs(values - expected).mean() > 40


def test_the_noise_has_its_deviation_and_is_that_of_its_seed() -> None:
    image = Image.new("RGB", (100, 100), (128, 128, 128))
    noisy = with_noise(image, 0.08, np.random.default_rng(1))
    assert np.asarray(noisy, dtype=float).std() / 255 == pytest.approx(0.08, rel=0.03)
    assert np.asarray(noisy, dtype=float).mean() == pytest.approx(128, abs=0.5)
    assert np.array_equal(np.asarray(noisy), np.asarray(with_noise(image, 0.08, np.random.default_rng(1))))
    assert not np.array_equal(np.asarray(noisy), np.asarray(with_noise(image, 0.08, np.random.default_rng(2))))


@given(colour=st.tuples(*[st.integers(0, 255)] * 3), shift=st.floats(-1, 1))
def test_brightness_is_the_v_of_hsv(colour: tuple[int, int, int], shift: float) -> None:
    hue, saturation, value = colorsys.rgb_to_hsv(*(part / 255 for part in colour))
    expected = np.array(colorsys.hsv_to_rgb(hue, saturation, min(max(value + shift, 0), 1))) * 255
    found = np.asarray(brightened(Image.new("RGB", (1, 1), colour), shift), dtype=float)[0, 0]
    assert np.abs(found - expected).max() <= 0.5 + 1e-6


def test_grey_becomes_brighter_by_the_shift() -> None:
    assert np.asarray(brightened(Image.new("L", (2, 2), 100), 0.2)).max() == 151
    assert np.asarray(brightened(Image.new("L", (2, 2), 0), 0.2)).max() == 51


@pytest.mark.parametrize(("direction", "expected"), [("horizontal", np.fliplr), ("vertical", np.flipud)])
def test_flips(direction: str, expected) -> None:
    assert np.array_equal(np.asarray(flipped(Image.fromarray(pixels()), direction)), expected(pixels()))


def test_a_quarter_turn_is_exact_and_corners_get_the_borders_colour() -> None:
    square = pixels(shape=(21, 21))
    assert np.array_equal(np.asarray(rotated(Image.fromarray(square), 90)), np.rot90(square))
    white = Image.new("RGB", (21, 21), (250, 240, 230))
    assert np.array_equal(np.asarray(rotated(white, 30)), np.asarray(white))


def test_the_crop_keeps_the_centre() -> None:
    values = pixels(shape=(20, 30))
    assert np.array_equal(np.asarray(cropped(Image.fromarray(values), 0.5)), values[5:15, 7:22])
    assert cropped(Image.new("L", (1, 1)), 0.1).size == (1, 1)


def test_jpeg_loses_more_at_a_lower_quality() -> None:
    image = Image.fromarray(pixels())
    losses = [np.abs(np.asarray(opened(jpeg(image, quality), COLOUR), dtype=float) - pixels()).mean() for quality in (90, 30, 7)]
    assert losses == sorted(losses)


@given(width=st.integers(1, 200), height=st.integers(1, 200), frac=st.floats(0.5, 1), fit=st.sampled_from(["squash", "crop"]))
def test_a_picture_is_shrunk_to_what_the_network_needs_and_never_enlarged(width: int, height: int, frac: float, fit: str) -> None:
    spec = GREY.model_copy(update={"fit": fit, "crop_frac": frac})
    after = shrunk(Image.new("L", (width, height)), spec)
    needed = (int(24 / frac), int(16 / frac))
    if width < needed[0] or height < needed[1]:
        assert after.size == (width, height)
        return
    assert after.width >= needed[0]
    assert after.height >= needed[1]
    assert after.width == needed[0] or after.height == needed[1]
    assert abs(after.width * height - after.height * width) <= max(width, height)


@pytest.mark.parametrize("fit", ["squash", "crop"])
def test_shrinking_first_is_hardly_seen_by_the_network(fit: str) -> None:
    spec = COLOUR.model_copy(update={"fit": fit, "crop_frac": 0.875})
    image = smooth(300)
    whole, small = (image_to_pixels(one, spec).astype(float) for one in (image, shrunk(image, spec)))
    assert np.abs(whole - small).max() <= 3
