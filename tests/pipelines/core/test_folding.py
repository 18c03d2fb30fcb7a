from __future__ import annotations

import sys
import threading

import pytest
import timm
import torch
from torch import nn

from pipelines.core.folding import fold_batch_norms

# Convolution and norm in every order that timm has: after, before, without a norm, with weights that are standardised, with SAME padding.
FOLDED = ["mobilenetv2_100", "mobilenetv3_small_050", "efficientnet_b0", "resnet10t", "resnet18", "regnetx_002", "densenet121", "repvgg_a0"]
AS_IT_IS = ["vit_tiny_patch16_224", "convnext_atto"]


def lively(name: str, **arguments: object) -> nn.Module:
    """Norms of an untrained network change nothing; those of this one do."""
    torch.manual_seed(0)
    network = timm.create_model(name, pretrained=False, num_classes=0, **arguments)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.2)
    return network.eval()


def n_norms(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


def images(px: int = 64) -> torch.Tensor:
    return torch.randn(2, 3, px, px, generator=torch.Generator().manual_seed(1))


def same(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    assert float((ours - theirs).abs().max()) <= 1e-4 * float(theirs.abs().max())


@pytest.mark.parametrize("name", FOLDED)
def test_gives_the_same_with_fewer_norms(name: str) -> None:
    network = lively(name)
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    folded = fold_batch_norms(network, (3, 64, 64))
    with torch.inference_mode():
        same(folded(images()), network(images()))
    assert n_norms(folded) < n_norms(network) / 2 or name == "densenet121"  # half of its norms stand before their convolution
    assert n_norms(folded) < n_norms(network)
    assert all(torch.equal(tensor, before[key]) for key, tensor in network.state_dict().items())


def test_same_padding_is_kept() -> None:
    network = lively("mobilenetv2_100", pad_type="same")
    folded = fold_batch_norms(network, (3, 64, 64))
    assert n_norms(folded) == 0
    with torch.inference_mode():
        same(folded(images(65)), network(images(65)))


@pytest.mark.parametrize("name", AS_IT_IS)
def test_without_batch_norms_it_is_the_network_itself(name: str) -> None:
    network = timm.create_model(name, pretrained=False, num_classes=0)
    assert fold_batch_norms(network, (3, 64, 64)) is network


def test_a_network_without_norms_needs_no_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a text model is served."""
    monkeypatch.setitem(sys.modules, "timm.layers", None)
    network = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3))
    assert fold_batch_norms(network, (3, 64, 64)) is network


class Twice(nn.Module):
    """One norm for two convolutions, and a convolution whose output two take: nothing of it may be folded."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
        self.shared, self.own = nn.BatchNorm2d(3), nn.BatchNorm2d(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        branch = self.third(x)
        return self.shared(self.first(x)) + self.shared(self.second(x)) + self.own(branch) + branch


class DependsOnInput(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.convolution(x)) if x.mean() > 0 else x


class Returned(nn.Module):
    """The convolution's output is an answer of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        raw = self.convolution(x)
        return raw, self.norm(raw)


class SharedWeight(nn.Module):
    """The convolution's weight is used without the convolution, too."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.convolution(x)) + nn.functional.conv2d(x, self.convolution.weight)


@pytest.mark.parametrize("network", [Twice(), DependsOnInput(), Returned(), SharedWeight()])
def test_where_it_would_change_the_function_it_is_left_alone(network: nn.Module) -> None:
    assert fold_batch_norms(network, (3, 64, 64)) is network


def test_norms_of_the_batch_itself_stay() -> None:
    network = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3, track_running_stats=False))
    assert fold_batch_norms(network, (3, 64, 64)) is network


def test_a_training_network_is_folded_as_it_answers_and_goes_on_training() -> None:
    network = lively("resnet10t").train()
    folded = fold_batch_norms(network, (3, 64, 64))
    assert network.training
    assert not folded.training
    with torch.inference_mode():
        same(folded(images()), network.eval()(images()))


def test_a_network_that_answers_meanwhile_notices_nothing() -> None:
    """As in an endpoint that loads the next model: what tracing tools replace for the whole process would break its requests."""
    answering = fold_batch_norms(lively("resnet10t"), (3, 64, 64))
    next_one = lively("mobilenetv2_100")
    with torch.inference_mode():
        expected = answering(images())
    answers: list[torch.Tensor] = []
    folded = threading.Event()

    def answer() -> None:
        with torch.inference_mode():
            while not folded.is_set():
                answers.append(answering(images()))

    thread = threading.Thread(target=answer)
    thread.start()
    for _ in range(3):
        fold_batch_norms(next_one, (3, 64, 64))
    folded.set()
    thread.join()
    assert len(answers) > 3
    assert all(torch.equal(one, expected) for one in answers)
