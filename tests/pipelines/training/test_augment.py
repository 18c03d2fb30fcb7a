from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as reference

from pipelines.config.methods import AugmentSection
from pipelines.core.preprocess import ImagePreprocess
from pipelines.training import augment
from pipelines.training.augment import augment_batch

GREY = ImagePreprocess(color="L", height_px=32, width_px=32, mean=(0.2,), std=(0.3,))
COLOUR = ImagePreprocess(color="RGB", height_px=24, width_px=40, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
RAND_AUGMENT = AugmentSection(policy="rand_augment", magnitude=0.8, n_operations=3)
POLICIES = {
    "shift_scale_rotate": AugmentSection(),
    "rand_augment": RAND_AUGMENT,
    "flips alone": AugmentSection(policy="none"),
}


def images(n: int, spec: ImagePreprocess, seed: int = 0) -> torch.Tensor:
    """Smooth pictures in [0, 1], normalised."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.random((n, spec.n_channels, 5, 5)).astype(np.float32))
    pixels = torch.nn.functional.interpolate(coarse, (spec.height_px, spec.width_px), mode="bilinear")
    return (pixels - channel(spec.mean)) / channel(spec.std)


def channel(values: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor(values)[:, None, None]


def as_pixels(batch: torch.Tensor, spec: ImagePreprocess) -> torch.Tensor:
    return batch * channel(spec.std) + channel(spec.mean)


def change(batch: torch.Tensor, policy: str, seeds: list[int], spec: ImagePreprocess) -> torch.Tensor:
    return augment_batch(batch, POLICIES[policy], ("horizontal", "vertical"), spec, seeds)


@pytest.mark.parametrize("spec", [GREY, COLOUR], ids=["grey", "colour"])
@pytest.mark.parametrize("policy", POLICIES)
@settings(max_examples=15)
@given(seeds=st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=12))
def test_a_sample_does_not_depend_on_its_batch_to_the_bit(policy: str, spec: ImagePreprocess, seeds: list[int]) -> None:
    batch = images(len(seeds), spec)
    whole = change(batch, policy, seeds, spec)
    assert whole.shape == batch.shape
    assert whole.dtype == batch.dtype
    assert torch.isfinite(whole).all()
    for row, seed in enumerate(seeds):
        assert torch.equal(whole[row : row + 1], change(batch[row : row + 1], policy, [seed], spec))


@pytest.mark.parametrize("policy", POLICIES)
def test_seeds_decide_and_no_global_generator_is_touched(policy: str) -> None:
    batch = images(8, COLOUR)
    original, torch_state, numpy_state = batch.clone(), torch.get_rng_state(), np.random.get_state()[1].tolist()
    first = change(batch, policy, list(range(8)), COLOUR)
    torch.rand(3)
    assert torch.equal(first, change(batch, policy, list(range(8)), COLOUR))
    assert not torch.equal(first, change(batch, policy, list(range(8, 16)), COLOUR))
    assert torch.equal(batch, original)
    torch.set_rng_state(torch_state)
    change(batch, policy, list(range(8)), COLOUR)
    assert torch.equal(torch_state, torch.get_rng_state())
    assert numpy_state == np.random.get_state()[1].tolist()


def test_magnitude_zero_and_no_policy_change_nothing() -> None:
    batch = images(4, COLOUR)
    for section in (AugmentSection(policy="rand_augment", magnitude=0), AugmentSection(policy="none")):
        assert torch.equal(augment_batch(batch, section, (), COLOUR, range(4)), batch)


def test_a_small_magnitude_is_a_small_change() -> None:
    batch = images(32, COLOUR)
    means = []
    for magnitude in (0.01, 0.1, 0.5, 1.0):
        section = AugmentSection(policy="rand_augment", magnitude=magnitude)
        changed = augment_batch(batch, section, (), COLOUR, range(32))
        means.append(((changed - batch) * channel(COLOUR.std)).abs().mean().item())
    assert means == sorted(means)
    assert means[0] < 0.01


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("spec", [GREY, COLOUR], ids=["grey", "colour"])
def test_pixels_stay_in_their_range(policy: str, spec: ImagePreprocess) -> None:
    pixels = as_pixels(change(images(64, spec), policy, list(range(64)), spec), spec)
    assert pixels.min() > -1e-5
    assert pixels.max() < 1 + 1e-5


def test_a_flat_image_stays_flat_under_movements() -> None:
    flat = torch.full((8, 1, 16, 16), 0.25)
    spec = GREY.model_copy(update={"height_px": 16, "width_px": 16})
    torch.testing.assert_close(augment_batch(flat, AugmentSection(), ("horizontal",), spec, range(8)), flat)


def test_flips_are_exact_and_happen_half_the_time() -> None:
    picture = images(1, COLOUR)
    batch = picture[:, :, ::4, ::4].repeat(2_000, 1, 1, 1)
    changed = augment_batch(batch, AugmentSection(policy="none"), ("horizontal", "vertical"), COLOUR, range(2_000))
    views = [batch, batch.flip(3), batch.flip(2), batch.flip(2, 3)]
    counts = [int((changed == view).all(dim=(1, 2, 3)).sum()) for view in views]
    assert sum(counts) == 2_000
    assert all(420 <= count <= 580 for count in counts)
    one_way = augment_batch(batch, AugmentSection(policy="none"), ("vertical",), COLOUR, range(2_000))
    assert bool(((one_way == views[0]).all(dim=(1, 2, 3)) | (one_way == views[2]).all(dim=(1, 2, 3))).all())


@pytest.mark.parametrize("spec", [GREY, COLOUR], ids=["grey", "colour"])
@pytest.mark.parametrize("factor", [0.1, 0.7, 1.0, 1.3, 1.9])
@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("brightness", reference.adjust_brightness),
        ("contrast", reference.adjust_contrast),
        ("sharpness", reference.adjust_sharpness),
        ("colour", reference.adjust_saturation),
    ],
)
def test_changes_of_values_equal_torchvisions(name: str, theirs: object, factor: float, spec: ImagePreprocess) -> None:
    if name == "colour" and spec is GREY:
        pytest.skip("grey has no colour")
    batch = images(3, spec)
    changed = augment._blend(batch, [augment.Change((), None, ((name, factor),))] * 3, spec)
    expected = theirs(as_pixels(batch, spec).clamp(0, 1), factor)  # type: ignore[operator]
    torch.testing.assert_close(as_pixels(changed, spec), expected, atol=2e-4, rtol=0)


@pytest.mark.parametrize("name", ["rotate", "shear_x", "shear_y", "shift_x", "shift_y", "scale"])
@pytest.mark.parametrize("strength", [-1.0, -0.4, 0.7])
def test_movements_equal_torchvisions(name: str, strength: float) -> None:
    batch = images(2, COLOUR)
    height, width = 24, 40
    movement = augment._MOVEMENTS[name](strength, height, width)
    changed = augment._move(batch, [augment.Change((), movement, ())] * 2)
    options: dict[str, object] = {"angle": 0.0, "translate": [0.0, 0.0], "scale": 1.0, "shear": [0.0, 0.0]}
    options |= {
        "rotate": {"angle": -strength * 30.0},
        # torchvision shears by an angle.
        "shear_x": {"shear": [math.degrees(math.atan(strength * 0.3)), 0.0]},
        "shear_y": {"shear": [0.0, math.degrees(math.atan(strength * 0.3))]},
        "shift_x": {"translate": [-strength * 0.2 * width, 0.0]},
        "shift_y": {"translate": [0.0, -strength * 0.2 * height]},
        "scale": {"scale": 1.3**-strength},
    }[name]
    mask = torch.ones(1, 1, height, width)
    bilinear = v2.InterpolationMode.BILINEAR
    expected = reference.affine_image(batch, interpolation=bilinear, fill=None, **options)  # type: ignore[arg-type]
    inside = reference.affine_image(mask, interpolation=bilinear, fill=None, **options)[0, 0] > 0.999  # type: ignore[arg-type]
    assert inside.float().mean() > 0.3
    difference = (changed - expected).abs().amax(dim=(0, 1))
    # torchvision moves a positive angle clockwise and turns around the same centre; only what comes in from outside differs.
    assert difference[inside].max() < 2e-3


def test_what_comes_in_from_outside_mirrors_the_image() -> None:
    ramp = torch.arange(8.0).repeat(1, 1, 8, 1)
    changed = augment._move(ramp, [augment.Change((), augment._shift(3, 0), ())])
    assert changed[0, 0, 4].tolist() == pytest.approx([3, 4, 5, 6, 7, 7, 6, 5])


def test_two_movements_are_one_resampling_in_their_order() -> None:
    ramp = torch.arange(16.0).repeat(1, 1, 16, 1)
    drawn = augment._MOVEMENTS["shift_x"](0.5, 16, 16) @ augment._MOVEMENTS["scale"](-0.5, 16, 16)
    once = augment._move(ramp, [augment.Change((), drawn, ())])
    first = augment._move(ramp, [augment.Change((), augment._MOVEMENTS["shift_x"](0.5, 16, 16), ())])
    twice = augment._move(first, [augment.Change((), augment._MOVEMENTS["scale"](-0.5, 16, 16), ())])
    torch.testing.assert_close(once[..., 2:12], twice[..., 2:12], atol=0.06, rtol=0)


def test_rand_augment_draws_every_operation_and_no_colour_for_grey() -> None:
    def drawn(channels: int) -> set[str]:
        changes = [augment._draw(np.random.default_rng(seed), RAND_AUGMENT, (), (1, channels, 32, 32)) for seed in range(200)]
        assert any(change.movement is not None for change in changes)
        assert all(len(change.blends) <= 3 for change in changes)
        return {name for change in changes for name, _ in change.blends}

    assert drawn(3) == {"brightness", "contrast", "sharpness", "colour"}
    assert drawn(1) == {"brightness", "contrast", "sharpness"}


def test_channels_last_stays_and_gives_the_same_images() -> None:
    batch = images(6, COLOUR)
    last = batch.contiguous(memory_format=torch.channels_last)
    assert change(last, "rand_augment", list(range(6)), COLOUR).is_contiguous(memory_format=torch.channels_last)
    assert change(batch, "rand_augment", list(range(6)), COLOUR).is_contiguous()
    torch.testing.assert_close(change(last, "rand_augment", list(range(6)), COLOUR), change(batch, "rand_augment", list(range(6)), COLOUR))
