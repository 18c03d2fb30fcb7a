from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pipelines.core.errors import ConfigurationError
from pipelines.core.patch_pooling import PatchPooling
from pipelines.training.adaptation.batch_norm import batch_norms, reestimate_batch_norm
from tests.pipelines.training.gradient_cases import Arrays, copied, network, same


def first_norm_inputs(model: nn.Sequential, images: np.ndarray) -> np.ndarray:
    """What the first batch norm sees, by NumPy alone: its convolution written out."""
    convolution: Any = model[0].lower[0]  # type: ignore[union-attr]
    weight, bias = convolution.weight.detach().numpy().astype(np.float64), convolution.bias.detach().numpy().astype(np.float64)
    padded = np.pad(images.astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    return np.asarray(np.einsum("nchwij,ocij->nohw", windows, weight) + bias[:, None, None])


@pytest.mark.parametrize("n", [20, 150])
def test_the_first_layer_has_the_mean_and_variance_of_all_values(n: int) -> None:
    """Exactly, over batches of any size: 150 samples go through in three."""
    model, inputs = network(), Arrays(n, seed=3)
    reestimate_batch_norm(model, inputs)
    seen = first_norm_inputs(model, inputs.images)
    norm: Any = model[0].lower[1]  # type: ignore[union-attr]
    np.testing.assert_allclose(norm.running_mean.numpy(), seen.mean(axis=(0, 2, 3)), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(norm.running_var.numpy(), seen.transpose(1, 0, 2, 3).reshape(4, -1).var(axis=1, ddof=1), rtol=1e-4)


def test_every_layer_then_gives_the_target_mean_0_and_variance_1() -> None:
    """With all samples in one batch the statistics are exact in each layer, so what a norm gives is standard before its affine map."""
    model, inputs = network(), Arrays(60, seed=4)
    assert reestimate_batch_norm(model, inputs) == 2
    outputs: dict[nn.Module, torch.Tensor] = {}
    for norm in batch_norms(model):
        norm.register_forward_hook(lambda module, _, output: outputs.__setitem__(module, output.detach()))
    with torch.inference_mode():
        model.eval()(torch.from_numpy(inputs.images))
    for output in outputs.values():
        rows = output.transpose(0, 1).flatten(1)
        torch.testing.assert_close(rows.mean(dim=1), torch.zeros(len(rows)), atol=1e-3, rtol=0)
        torch.testing.assert_close(rows.std(dim=1), torch.ones(len(rows)), atol=1e-3, rtol=0)


def test_weights_and_modes_stay_and_twice_is_once() -> None:
    model, inputs = network(), Arrays(30, seed=5)
    before = copied(model.state_dict())
    momentum = [norm.momentum for norm in batch_norms(model)]
    reestimate_batch_norm(model, inputs)
    once = copied(model.state_dict())
    reestimate_batch_norm(model, inputs)
    assert same(once, model.state_dict())
    assert not model.training
    assert [norm.momentum for norm in batch_norms(model)] == momentum
    changed = {name for name in before if not torch.equal(before[name], once[name])}
    assert changed == {f"0.{part}.1.running_{what}" for part in ("lower", "upper") for what in ("mean", "var")}


def test_the_source_counts_as_so_many_samples() -> None:
    plain, mixed, inputs = network(), network(), Arrays(30, seed=6)
    reestimate_batch_norm(plain, inputs)
    reestimate_batch_norm(mixed, inputs, source_samples=90)
    for target, both in zip(batch_norms(plain), batch_norms(mixed), strict=True):
        expected: Any = 0.25 * target.running_mean + 0.75 * torch.zeros(1)  # type: ignore[operator]
        torch.testing.assert_close(both.running_mean, expected)
        torch.testing.assert_close(both.running_var, 0.25 * target.running_var + 0.75)  # type: ignore[operator]


def test_a_network_without_batch_norm() -> None:
    with pytest.raises(ConfigurationError, match=r"by: bn for a network without batch norm\. Allowed: .* ResNet.*ViT"):
        reestimate_batch_norm(nn.Sequential(nn.Flatten(), nn.Linear(64, 4)), Arrays(20, seed=1))


def test_a_shift_of_brightness_is_undone() -> None:
    """What AdaBN is for: the target differs by an affine change of the inputs, and the first norm takes it out again."""
    model, source, target = network(), Arrays(64, seed=7), Arrays(64, seed=7)
    target.images = 3 * source.images + 2
    reestimate_batch_norm(model, source)
    with torch.inference_mode():
        wanted = model(torch.from_numpy(source.images))
        shifted = model(torch.from_numpy(target.images))
        reestimate_batch_norm(model, target)
        adapted = model(torch.from_numpy(target.images))
    # Zero padding does not take part in the shift, so borders differ.
    assert (adapted - wanted).abs().mean() < 0.2 * (shifted - wanted).abs().mean()


class Sounds(Arrays):
    """Sample number i has 1 to 3 patches, each an image of its own, followed by patches of NaN."""

    def __init__(self, n: int) -> None:
        super().__init__(n, seed=6)
        self.n_patches = 1 + np.arange(n) % 3
        rng = np.random.default_rng(7)
        self.patches = [rng.normal(3.0, 2.0, size=(count, 1, 8, 8)).astype(np.float32) for count in self.n_patches]

    def batch(self, indices: Any) -> np.ndarray:
        made = np.full((len(indices), 3, 1, 8, 8), np.nan, np.float32)
        for row, index in zip(made, indices, strict=True):
            row[: self.n_patches[index]] = self.patches[index]
        return made


def test_patches_that_fill_a_batch_up_are_in_no_statistic() -> None:
    """They are zeros to a network that is asked, and would pull every mean to what a zero gives."""
    plain = network()
    model, inputs = nn.Sequential(PatchPooling(plain[0]), plain[1]), Sounds(20)
    reestimate_batch_norm(model, inputs)
    seen = first_norm_inputs(plain, np.concatenate(inputs.patches))
    norm: Any = plain[0].lower[1]  # type: ignore[union-attr]
    np.testing.assert_allclose(norm.running_mean.numpy(), seen.mean(axis=(0, 2, 3)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(norm.running_var.numpy(), seen.transpose(1, 0, 2, 3).reshape(4, -1).var(axis=1, ddof=1), rtol=1e-4)
    assert not any(module.training for module in model.modules())
