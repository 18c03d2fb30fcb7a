from __future__ import annotations

import contextlib
import io
import struct

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from pipelines.core.errors import DataError
from pipelines.core.preprocess import ImagePreprocess, decode_image, image_to_array, normalise, preprocess

RGB = ImagePreprocess(color="RGB", height_px=16, width_px=24, mean=(0.5, 0.4, 0.3), std=(0.5, 0.25, 0.2))
GREY = ImagePreprocess(color="L", height_px=16, width_px=16, mean=(0.5,), std=(0.5,))


def png(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_equals_a_slow_reference() -> None:
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (16, 24, 3), dtype=np.uint8))
    array = image_to_array(image, RGB)
    expected = np.empty((3, 16, 24))
    for channel in range(3):
        for y in range(16):
            for x in range(24):
                value = image.getpixel((x, y))[channel] / 255
                expected[channel, y, x] = (value - RGB.mean[channel]) / RGB.std[channel]
    np.testing.assert_allclose(array, expected, atol=1e-6)


@pytest.mark.parametrize("fit", ["squash", "crop"])
@pytest.mark.parametrize(("width", "height"), [(1, 1), (3, 200), (200, 3), (17, 16), (33, 50)])
def test_every_size_gives_the_networks_size(fit: str, width: int, height: int) -> None:
    spec = RGB.model_copy(update={"fit": fit, "crop_frac": 0.875})
    assert image_to_array(Image.new("RGB", (width, height)), spec).shape == (3, 16, 24)


def test_crop_agrees_with_timms_evaluation_transform() -> None:
    from timm.data import create_transform

    rng = np.random.default_rng(1)
    image = Image.fromarray(rng.integers(0, 256, (61, 83, 3), dtype=np.uint8))
    spec = ImagePreprocess(color="RGB", height_px=32, width_px=32, fit="crop", crop_frac=0.875, mean=(0.5,) * 3, std=(0.5,) * 3)
    reference = create_transform((3, 32, 32), interpolation="bicubic", mean=spec.mean, std=spec.std, crop_pct=0.875)(image).numpy()
    np.testing.assert_allclose(image_to_array(image, spec), reference, atol=1e-5)


def test_exif_rotation_is_applied() -> None:
    image = Image.new("L", (8, 8), 0)
    image.putpixel((0, 0), 255)
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees clockwise to view
    upright = decode_image(png(image, exif=exif), GREY)
    assert upright.getpixel((7, 0)) == 255


@pytest.mark.parametrize("value", [0, 257, 65_535])
def test_sixteen_bits_are_scaled_to_eight(value: int) -> None:
    image = Image.fromarray(np.full((4, 4), value, dtype=np.uint16))
    assert decode_image(png(image), GREY).getpixel((1, 1)) == value // 257


def test_palette_cmyk_and_transparency() -> None:
    red = Image.new("RGB", (4, 4), (255, 0, 0))
    assert decode_image(png(red.convert("P")), RGB).getpixel((0, 0)) == (255, 0, 0)
    assert decode_image(png(red.convert("CMYK"), "TIFF"), RGB).getpixel((0, 0)) == (255, 0, 0)
    transparent = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    assert decode_image(png(transparent), RGB).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"not an image", b"%PDF-1.4", b"\x89PNG\r\n\x1a\n" + b"\0" * 40])
def test_what_is_no_image_is_bad_data(data: bytes) -> None:
    with pytest.raises(DataError, match="do not decode as an image"):
        decode_image(data, GREY)


@settings(max_examples=150)
@given(st.integers(0, 400), st.binary(max_size=8), st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"]))
def test_damaged_images_never_raise_anything_else(place: int, damage: bytes, kind: str) -> None:
    good = png(Image.fromarray(np.arange(300, dtype=np.uint8).reshape(15, 20)), kind)
    bad = good[:place] + damage + good[place + len(damage) :]
    with contextlib.suppress(DataError):
        decode_image(bad, GREY)


def with_exif(kind: str) -> bytes:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x011A] = 6, "maker", 72.0  # orientation, a text, a fraction
    exif.get_ifd(0x8769)[0x829A] = 0.01
    return png(Image.fromarray(np.arange(300, dtype=np.uint8).reshape(15, 20)), kind, exif=exif)


def test_one_changed_byte_of_exif_is_bad_data() -> None:
    """Pillow writes the EXIF anew when it turns the image, and trips over entries of a type that their tag does not have."""
    good = with_exif("JPEG")
    assert decode_image(good, GREY).size == (15, 20)
    errors = set()
    for place in range(good.index(b"Exif"), good.index(b"maker")):
        for value in range(13):
            bad = bytearray(good)
            bad[place] = value
            try:
                decode_image(bytes(bad), GREY)
            except DataError as error:
                errors.add(type(error.__cause__))
    assert {struct.error, AttributeError} <= errors


EXIF_FILES = {kind: with_exif(kind) for kind in ("JPEG", "TIFF", "PNG", "WEBP")}


@settings(max_examples=300)
@given(kind=st.sampled_from(sorted(EXIF_FILES)), changes=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=4))
def test_damaged_exif_never_raises_anything_else(kind: str, changes: list[tuple[int, int]]) -> None:
    bad = bytearray(EXIF_FILES[kind])
    for place, value in changes:
        bad[place % len(bad)] = value
    with contextlib.suppress(DataError):
        decode_image(bytes(bad), GREY)


def test_a_truncated_image_is_refused() -> None:
    data = png(Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)))
    with pytest.raises(DataError, match="do not decode as an image"):
        decode_image(data[: len(data) // 2], GREY)


@pytest.mark.parametrize(("side", "message"), [(2_000, "2000 x 2000 = 4000000 pixels"), (20_000, "400000000 pixels")])
def test_too_many_pixels_are_refused_before_decoding(side: int, message: str) -> None:
    data = png(Image.new("1", (side, side)))
    with pytest.raises(DataError, match=f"{message}.*at most 1000000 pixels"):
        decode_image(data, GREY.model_copy(update={"max_pixels": 1_000_000}))


def test_formats_outside_the_list_are_refused() -> None:
    with pytest.raises(DataError, match="do not decode"):
        decode_image(png(Image.new("L", (4, 4)), "PPM"), GREY)


def test_statistics_must_fit_the_channels() -> None:
    with pytest.raises(ValidationError, match="RGB needs 3 of each"):
        ImagePreprocess(color="RGB", height_px=16, width_px=16, mean=(0.5,), std=(0.5,))


def test_a_batch_is_its_samples() -> None:
    images = [png(Image.new("L", (5, 9), value)) for value in (0, 128, 255)]
    batch = preprocess(images, GREY)
    assert batch.shape == (3, 1, 16, 16)
    np.testing.assert_allclose(batch[:, 0, 0, 0], [-1, 128 / 127.5 - 1, 1], atol=1e-6)


def test_normalising_is_the_formula_bit_for_bit_wherever_it_is_written() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)
    mean, std = np.asarray(RGB.mean, np.float32), np.asarray(RGB.std, np.float32)
    expected = (pixels.astype(np.float32) / np.float32(255) - mean) / std
    out = np.empty((2, 16, 24, 3), np.float32)
    normalise(pixels, RGB, out=out[1])
    assert np.array_equal(normalise(pixels, RGB), expected)
    assert np.array_equal(out[1], expected)


DRAFT = RGB.model_copy(update={"jpeg_draft": True, "fit": "crop", "crop_frac": 0.875})


def smooth(width: int, height: int) -> Image.Image:
    """Light rises from the left to the right and from the top to the bottom, so that a turned image is another one."""
    across, down = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([across, down, across / 2], axis=2).astype(np.uint8))


@pytest.mark.parametrize("fit", ["squash", "crop"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(400, 230), (289, 161), (161, 297)])
def test_a_draft_is_the_photo_decoded_smaller_however_the_camera_was_held(size: tuple[int, int], orientation: int, fit: str) -> None:
    """Sides that are no multiples of 4 or 8 are rounded up: without regard to it a turned photo would be shifted."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = png(smooth(*size), "JPEG", quality=95, exif=exif)
    draft = DRAFT.model_copy(update={"fit": fit})
    whole = draft.model_copy(update={"jpeg_draft": False})
    assert decode_image(data, draft).width * 1.9 < decode_image(data, whole).width
    spec = draft.model_copy(update={"mean": (0,) * 3, "std": (1,) * 3})
    difference = image_to_array(decode_image(data, draft), spec) - image_to_array(decode_image(data, whole), spec)
    assert np.abs(difference).max() * 255 < 2.5


def test_a_draft_is_never_smaller_than_twice_what_is_needed() -> None:
    for width, height in ((55, 37), (110, 74), (220, 148), (1_000, 74), (74, 1_000), (20, 20)):
        small = decode_image(png(smooth(width, height), "JPEG"), DRAFT)
        scale = max(27 / width, 18 / height)
        for side, original in ((small.width, width), (small.height, height)):
            assert side == original or side >= 2 * int(original * scale)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "BMP", "GIF"])
def test_other_formats_know_no_draft(kind: str) -> None:
    data = png(smooth(300, 200), kind)
    assert decode_image(data, DRAFT).tobytes() == decode_image(data, RGB).tobytes()


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_grey_and_printers_jpegs_have_drafts_too(mode: str) -> None:
    data = png(smooth(400, 300).convert(mode), "JPEG", quality=95)
    difference = image_to_array(decode_image(data, DRAFT), RGB) - image_to_array(decode_image(data, RGB), RGB)
    assert decode_image(data, DRAFT).width == 100
    assert np.abs(difference).max() * max(RGB.std) * 255 < 6


def test_bundles_from_before_drafts_keep_their_pixels() -> None:
    data = png(smooth(400, 300), "JPEG")
    stored = RGB.model_dump()
    del stored["jpeg_draft"]
    assert decode_image(data, ImagePreprocess(**stored)).size == (400, 300)


def said_to_be(data: bytes, side: int) -> bytes:
    """A JPEG whose header promises another size."""
    frame = data.index(b"\xff\xc0") + 5
    return data[:frame] + struct.pack(">HH", side, side) + data[frame + 4 :]


@pytest.mark.parametrize("draft", [False, True])
def test_a_huge_jpeg_is_refused_by_its_true_size_and_takes_no_memory(draft: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def decoded(image: Image.Image) -> None:
        raise AssertionError("it was decoded")

    data = said_to_be(png(smooth(64, 64), "JPEG"), 20_000)
    before = psutil.Process().memory_info().rss
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", decoded)
    with pytest.raises(DataError, match=r"400000000 pixels.*at most 50000000 pixels"):
        decode_image(data, DRAFT.model_copy(update={"jpeg_draft": draft}))
    with pytest.raises(DataError, match=r"7000 x 7000 = 49000000 pixels.*at most 40000000"):  # a draft of it would be small enough
        decode_image(said_to_be(data, 7_000), DRAFT.model_copy(update={"jpeg_draft": draft, "max_pixels": 40_000_000}))
    assert psutil.Process().memory_info().rss - before < 50_000_000


def test_a_damaged_jpeg_is_bad_data_as_a_draft_too() -> None:
    data = png(smooth(400, 300), "JPEG")
    with pytest.raises(DataError, match="do not decode as an image"):
        decode_image(data[: len(data) // 2], DRAFT)
