from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage
import torch

from pipelines.core.preprocess import ImagePreprocess
from pipelines.siamese.views import Views, blurred, crop

RGB = ImagePreprocess(color="RGB", height_px=24, width_px=32, mean=(0.5,) * 3, std=(0.25,) * 3)
GREY = ImagePreprocess(color="L", height_px=24, width_px=32, mean=(0.5,), std=(0.25,))


def images(n: int, spec: ImagePreprocess) -> torch.Tensor:
    pixels = np.random.default_rng(0).uniform(size=(n, *spec.input_shape)).astype(np.float32)
    return ((torch.from_numpy(pixels) - 0.5) / 0.25).contiguous(memory_format=torch.channels_last)


def test_a_crop_lies_inside_and_shows_enough() -> None:
    areas = []
    for seed in range(500):
        movement = crop(np.random.default_rng(seed), 24, 32, 0.2)
        corners = movement @ np.array([[x, y, 1] for x in (-16, 16) for y in (-12, 12)]).T
        assert np.abs(corners[0]).max() <= 16 + 1e-9
        assert np.abs(corners[1]).max() <= 12 + 1e-9
        areas.append(movement[0, 0] * movement[1, 1])
    assert min(areas) > 0.2 - 1e-9
    assert np.quantile(areas, 0.1) < 0.35
    assert max(areas) > 0.9
    assert crop(np.random.default_rng(0), 24, 32, 1.0)[0, 0] > 0.8


@pytest.mark.parametrize("spec", [RGB, GREY])
def test_a_view_does_not_depend_on_who_shares_its_batch(spec: ImagePreprocess) -> None:
    views, batch = Views(spec, ("horizontal",), 0.2), images(8, spec)
    whole = views.of(batch, range(8))
    assert whole.shape == batch.shape
    assert whole.is_contiguous(memory_format=torch.channels_last)
    for place in range(8):
        assert torch.equal(views.of(batch[place : place + 1], [place])[0], whole[place])
    assert not torch.equal(views.of(batch, range(8, 16)), whole)


def test_values_stay_those_of_an_image() -> None:
    for spec in (RGB, GREY):
        pixels = Views(spec, (), 0.2).of(images(64, spec), range(64)) * 0.25 + 0.5
        assert float(pixels.min()) >= -1e-5
        assert float(pixels.max()) <= 1 + 1e-5


def test_a_fifth_of_colour_views_is_grey() -> None:
    views = Views(RGB, (), 0.2).of(images(500, RGB), range(500))
    is_grey = (views.amax(dim=1) - views.amin(dim=1)).amax(dim=(1, 2)) < 1e-4
    assert 0.14 < is_grey.float().mean() < 0.26


def test_nothing_is_flipped_unless_it_is_said() -> None:
    """Planted: an image that is dark on the left."""
    left = torch.zeros(1, 1, 24, 32)
    left[..., 16:] = 1.9

    def mirrored(views: Views) -> float:
        made = torch.cat([views.of(left, [seed]) for seed in range(100)])
        return float((made[..., :8].mean(dim=(1, 2, 3)) > made[..., -8:].mean(dim=(1, 2, 3)) + 0.5).float().mean())

    assert mirrored(Views(GREY, (), 0.9)) == 0
    assert mirrored(Views(GREY, ("vertical",), 0.9)) == 0
    assert 0.3 < mirrored(Views(GREY, ("horizontal",), 0.9)) < 0.7


def test_the_blur_is_scipys() -> None:
    batch, sigmas = images(4, RGB), [0.0, 0.4, 1.1, 2.0]
    result = blurred(batch, sigmas)
    assert torch.equal(result[0], batch[0])
    for place, sigma in enumerate(sigmas[1:], start=1):
        for channel in range(3):
            wanted = scipy.ndimage.gaussian_filter(batch[place, channel].double().numpy(), sigma, mode="mirror", radius=6)
            np.testing.assert_allclose(result[place, channel], wanted, atol=1e-5)
    assert blurred(batch, [0.0] * 4) is batch
