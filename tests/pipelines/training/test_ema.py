from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from torch import nn

from pipelines.training.ema import Ema


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(72, 2)).train()


def walk(model: nn.Module, n_steps: int, seed: int = 0, ema: Ema | None = None) -> list[dict[str, np.ndarray]]:
    """Random steps, each told to the average, and the weights after each of them."""
    generator = torch.Generator().manual_seed(seed)
    states = []
    for _ in range(n_steps):
        with torch.no_grad():
            model(torch.randn(4, 1, 8, 8, generator=generator))
            for parameter in model.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=generator))
        if ema is not None:
            ema.update(model)
        states.append({name: tensor.numpy().copy() for name, tensor in model.state_dict().items()})
    return states


@pytest.mark.parametrize("decay", [0.3, 0.9, 0.9999])
def test_equals_a_slow_average(decay: float) -> None:
    model = network()
    walk(model, 1)
    ema = Ema(model, decay)
    names = {name for name, _ in model.named_parameters()}
    average = {name: tensor.numpy().astype(np.float64) for name, tensor in model.state_dict().items()}
    for number, state in enumerate(walk(model, 12, seed=0, ema=ema), start=1):
        used = min(decay, 1 - number ** (-2 / 3))
        average = {name: used * average[name] + (1 - used) * state[name] if name in names else state[name] for name in average}
    assert set(ema.weights) == set(model.state_dict())
    for name, tensor in ema.weights.items():
        np.testing.assert_allclose(tensor.numpy(), average[name], atol=1e-5, err_msg=name)


def test_buffers_are_copied_exactly() -> None:
    model = network()
    walk(model, 1)
    ema = Ema(model, 0.9)
    walk(model, 3, seed=0, ema=ema)
    for name, buffer in model.named_buffers():
        assert torch.equal(ema.weights[name], buffer), name


def test_the_network_is_left_alone_and_the_average_does_not_follow_it() -> None:
    model = network()
    walk(model, 1)
    ema = Ema(model, 0.9)
    walk(model, 2, seed=0, ema=ema)
    kept = {name: tensor.clone() for name, tensor in ema.weights.items()}
    walk(model, 1, seed=5)
    assert all(torch.equal(kept[name], tensor) for name, tensor in ema.weights.items())
    assert model.training
    assert not any(tensor.requires_grad for tensor in ema.weights.values())


def test_going_on_from_a_saved_state_gives_the_same_bits() -> None:
    whole_model, cut_model = network(), network()
    walk(whole_model, 1)
    walk(cut_model, 1)
    whole, before = Ema(whole_model, 0.99), Ema(cut_model, 0.99)
    walk(whole_model, 3, seed=1, ema=whole)
    walk(cut_model, 3, seed=1, ema=before)
    file = io.BytesIO()
    torch.save(before.state_dict(), file)
    file.seek(0)
    after = Ema(cut_model, 0.99)
    after.load_state_dict(torch.load(file, weights_only=True))
    walk(whole_model, 3, seed=2, ema=whole)
    walk(cut_model, 3, seed=2, ema=after)
    assert whole.state_dict()["n_updates"] == after.state_dict()["n_updates"] == 6
    assert all(torch.equal(tensor, after.weights[name]) for name, tensor in whole.weights.items())
