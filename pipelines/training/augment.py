"""Augmentation of input batches: the tensors that the inference core made, never the bytes.

Every sample has a seed of its own, so its change depends neither on who shares its batch nor on any global generator: resuming, other
batch sizes and more processes see the same images. torchvision's transforms take one strength for a whole batch; here each sample has its
own in one call, and the tests hold the operations against torchvision's.

Letters for shapes: b batch, c channels, h height, w width, m the samples that are changed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

    from pipelines.config import AugmentSection
    from pipelines.core.preprocess import ImagePreprocess

Flip = Literal["horizontal", "vertical"]
Matrix = NDArray[np.float64]

# Of shift_scale_rotate.
MAX_ROTATION_DEGREES = 12.0
MAX_SHIFT_FRAC = 0.08
MAX_SCALE_CHANGE = 0.1

# Of rand_augment at magnitude 1, as in the paper where it has the operation. Only what keeps the label of a digit as of a photo at small
# magnitudes: colours are not inverted, equalised or posterised.
_RAND_AUGMENT_ROTATION_DEGREES = 30.0
_RAND_AUGMENT_SHEAR = 0.3
_RAND_AUGMENT_SHIFT_FRAC = 0.2
_RAND_AUGMENT_SCALE = 1.3
_RAND_AUGMENT_BLEND = 0.9

# ITU-R 601-2, as PIL and torchvision weigh the colours.
_GREY = (0.2989, 0.587, 0.114)


@dataclass(frozen=True)
class Change:
    """What happens to one sample, in this order.

    Attributes:
        flips: Directions.
        movement: [3, 3], from output to input places in pixels around the centre; nothing: it stays where it is.
        blends: `brightness`, `contrast`, `sharpness` or `colour` and a factor: 1 changes nothing, 0 is black, the mean grey, smooth, grey.
    """

    flips: tuple[Flip, ...]
    movement: Matrix | None
    blends: tuple[tuple[str, float], ...]


def augment_batch(
    batch: torch.Tensor, section: AugmentSection, flips: tuple[Flip, ...], preprocess: ImagePreprocess, seeds: Sequence[int]
) -> torch.Tensor:
    """Changes each image at random in ways that leave its label true.

    RandAugment (Cubuk et al. 2019, https://arxiv.org/abs/1909.13719) with three differences: the strength is drawn evenly up to the
    magnitude in both directions; all movements of an image are one resampling; there are no operations that a grey digit does not survive.

    Args:
        batch: [b, c, h, w], normalised by `preprocess`.
        section: Policy, magnitude and number of operations; mixing is `mix_batch`'s.
        flips: Directions, each with probability 1/2.
        preprocess: Its mean and std: values are changed as fractions in [0, 1] and cut there, as an image's are.
        seeds: One for each sample, 0 or above.

    Returns:
        The same shape and layout; what comes in from outside mirrors the image. The batch itself where nothing changes.
    """
    changes = [_draw(np.random.default_rng(seed), section, flips, batch.shape) for seed in seeds]
    return with_changes(batch, changes, preprocess)


def with_changes(batch: torch.Tensor, changes: Sequence[Change], preprocess: ImagePreprocess) -> torch.Tensor:
    """Each image with its change: the same shape and layout, the batch itself where nothing changes.

    Args:
        batch: [b, c, h, w], normalised by `preprocess`.
        changes: One for each.
        preprocess: Its mean and std.
    """
    changed = _blend(_move(_flip(batch, changes), changes), changes, preprocess)
    return changed.contiguous(memory_format=_layout(batch))


def _layout(batch: torch.Tensor) -> torch.memory_format:
    import torch

    channels_last = batch.is_contiguous(memory_format=torch.channels_last) and not batch.is_contiguous()
    return torch.channels_last if channels_last else torch.contiguous_format


def _draw(rng: np.random.Generator, section: AugmentSection, flips: tuple[Flip, ...], shape: Sequence[int]) -> Change:
    chosen = tuple(flip for flip in flips if rng.random() < 0.5)
    _, channels, height, width = shape
    if section.policy == "shift_scale_rotate":
        return Change(chosen, _shift_scale_rotate(rng, height, width), ())
    if section.policy == "rand_augment" and section.magnitude > 0:
        return _rand_augment(rng, section, chosen, channels, (height, width))
    return Change(chosen, None, ())


def _shift_scale_rotate(rng: np.random.Generator, height: int, width: int) -> Matrix:
    angle, scale, right, down = rng.uniform(-1, 1, size=4)
    zoom = 1 + scale * MAX_SCALE_CHANGE
    turn = _rotation(angle * math.radians(MAX_ROTATION_DEGREES)) @ np.diag([zoom, zoom, 1.0])
    return _shift(right * MAX_SHIFT_FRAC * width, down * MAX_SHIFT_FRAC * height) @ turn


def _rand_augment(
    rng: np.random.Generator, section: AugmentSection, flips: tuple[Flip, ...], channels: int, size: tuple[int, int]
) -> Change:
    names = [*_MOVEMENTS, *(name for name in _BLENDS if name != "colour" or channels == 3)]
    movement: Matrix | None = None
    blends = []
    for _ in range(section.n_operations):
        name = names[int(rng.integers(len(names)))]
        strength = float(rng.uniform(-section.magnitude, section.magnitude))
        if name in _MOVEMENTS:
            step = _MOVEMENTS[name](strength, *size)
            movement = step if movement is None else movement @ step
        else:
            blends.append((name, 1 + _RAND_AUGMENT_BLEND * strength))
    return Change(flips, movement, tuple(blends))


def _rotation(radians: float) -> Matrix:
    cosine, sine = math.cos(radians), math.sin(radians)
    return np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])


def _shear(x_by_y: float, y_by_x: float) -> Matrix:
    return np.array([[1, x_by_y, 0], [y_by_x, 1, 0], [0, 0, 1]])


def _shift(right_px: float, down_px: float) -> Matrix:
    return np.array([[1, 0, right_px], [0, 1, down_px], [0, 0, 1]])


# From a strength in [-1, 1], height and width to a movement.
_MOVEMENTS: dict[str, Callable[[float, int, int], Matrix]] = {
    "rotate": lambda strength, height, width: _rotation(strength * math.radians(_RAND_AUGMENT_ROTATION_DEGREES)),
    "shear_x": lambda strength, height, width: _shear(strength * _RAND_AUGMENT_SHEAR, 0),
    "shear_y": lambda strength, height, width: _shear(0, strength * _RAND_AUGMENT_SHEAR),
    "shift_x": lambda strength, height, width: _shift(strength * _RAND_AUGMENT_SHIFT_FRAC * width, 0),
    "shift_y": lambda strength, height, width: _shift(0, strength * _RAND_AUGMENT_SHIFT_FRAC * height),
    "scale": lambda strength, height, width: np.diag([_RAND_AUGMENT_SCALE**strength, _RAND_AUGMENT_SCALE**strength, 1.0]),
}


def _flip(batch: torch.Tensor, changes: Sequence[Change]) -> torch.Tensor:
    import torch

    for flip, axis in (("horizontal", 3), ("vertical", 2)):
        chosen = [flip in change.flips for change in changes]
        if any(chosen):
            batch = torch.where(torch.tensor(chosen, device=batch.device)[:, None, None, None], batch.flip(axis), batch)
    return batch


def _move(batch: torch.Tensor, changes: Sequence[Change]) -> torch.Tensor:
    import torch
    from torch.nn import functional

    moved = [(number, change.movement) for number, change in enumerate(changes) if change.movement is not None]
    if not moved:
        return batch
    places = torch.tensor([number for number, _ in moved], device=batch.device)
    grid = _grid(np.stack([movement for _, movement in moved]), batch)
    resampled = functional.grid_sample(batch[places], grid, padding_mode="reflection", align_corners=False)
    return batch.index_copy(0, places, resampled)


def _grid(movements: Matrix, batch: torch.Tensor) -> torch.Tensor:
    # [m, h, w, 2] with places from -1 to 1. By sums and products of elements, not by affine_grid: its matrix product may round
    # differently in a batch of another size.
    import torch

    height, width = batch.shape[-2:]
    half = np.array([width / 2, height / 2, 1])
    scaled = torch.from_numpy((movements * half / half[:, None]).astype(np.float32)).to(batch.device)
    x, y = (((torch.arange(n, device=batch.device, dtype=torch.float32) * 2 + 1) / n - 1) for n in (width, height))
    (xx, xy, x0), (yx, yy, y0) = ([scaled[:, row, column, None, None] for column in range(3)] for row in range(2))
    columns, rows = x[None, None, :], y[None, :, None]
    return torch.stack([xx * columns + xy * rows + x0, yx * columns + yy * rows + y0], dim=-1).to(batch.dtype)


def _blend(batch: torch.Tensor, changes: Sequence[Change], preprocess: ImagePreprocess) -> torch.Tensor:
    import torch

    places = [number for number, change in enumerate(changes) if change.blends]
    if not places:
        return batch
    mean, std = (
        torch.tensor(values, device=batch.device, dtype=batch.dtype)[:, None, None] for values in (preprocess.mean, preprocess.std)
    )
    index = torch.tensor(places, device=batch.device)
    pixels = batch[index] * std + mean
    for step in range(max(len(changes[place].blends) for place in places)):
        pixels = _blend_step(pixels, [changes[place].blends[step : step + 1] for place in places])
    return batch.index_copy(0, index, (pixels - mean) / std)


def _blend_step(pixels: torch.Tensor, steps: Sequence[tuple[tuple[str, float], ...]]) -> torch.Tensor:
    # Each sample has at most one operation in a step.
    import torch

    for name, other in _BLENDS.items():
        chosen = [(row, step[0][1]) for row, step in enumerate(steps) if step and step[0][0] == name]
        if chosen:
            index = torch.tensor([row for row, _ in chosen], device=pixels.device)
            factor = torch.tensor([factor for _, factor in chosen], device=pixels.device, dtype=pixels.dtype)[:, None, None, None]
            part = pixels[index]
            blended = part * factor + other(part) * (1 - factor)
            pixels = pixels.index_copy(0, index, blended.clamp(0, 1))
    return pixels


def _grey(pixels: torch.Tensor) -> torch.Tensor:
    # [m, c, h, w] -> [m, 1, h, w]
    if pixels.shape[1] == 1:
        return pixels
    red, green, blue = _GREY
    return pixels[:, 0:1] * red + pixels[:, 1:2] * green + pixels[:, 2:3] * blue


def _black(pixels: torch.Tensor) -> torch.Tensor:
    return pixels.new_zeros(())


def _mean_grey(pixels: torch.Tensor) -> torch.Tensor:
    # One by one: the order of a sum over many samples at once depends on how many they are.
    import torch

    return torch.stack([image.mean() for image in _grey(pixels).contiguous()])[:, None, None, None]


def _smooth(pixels: torch.Tensor) -> torch.Tensor:
    # PIL's SMOOTH: the mean of 3 x 3 pixels with the middle one five times; the border stays.
    height, width = pixels.shape[-2:]
    shifted = [pixels[:, :, row : height - 2 + row, column : width - 2 + column] for row in range(3) for column in range(3)]
    result = pixels.clone()
    result[:, :, 1:-1, 1:-1] = (sum(shifted[1:], shifted[0]) + shifted[4] * 4) / 13
    return result


# What an image is blended with, as in PIL's ImageEnhance; a factor above 1 goes the other way.
_BLENDS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "brightness": _black,
    "contrast": _mean_grey,
    "sharpness": _smooth,
    "colour": _grey,
}
