from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pipelines.config import DannAdaptation
from pipelines.training.adaptation.dann import DannLoss, domain_head, plain_head, reversal_weight, reverse_gradient
from pipelines.training.objective import Objective
from pipelines.training.step import StepPart

N_SOURCE, N_TARGET, N_FEATURES, N_LABELS = 7, 5, 4, 3


@pytest.mark.parametrize(("progress", "expected"), [(0.0, 0.0), (0.1, 0.46211715726), (0.5, 0.98661429815), (1.0, 0.99990920426)])
def test_the_schedule_of_the_paper(progress: float, expected: float) -> None:
    assert reversal_weight(progress, 1.0, 10.0) == pytest.approx(expected, abs=1e-9)
    assert reversal_weight(progress, 0.3, 10.0) == pytest.approx(0.3 * math.tanh(5 * progress), abs=1e-9)


def test_the_gradient_is_reversed_and_the_values_stay() -> None:
    values = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    reversed_values = reverse_gradient(values, 0.7)
    assert torch.equal(reversed_values, values)
    slope = torch.randn(5, 3, generator=torch.Generator().manual_seed(1))
    torch.autograd.backward((reversed_values * slope).sum())
    torch.testing.assert_close(values.grad, -0.7 * slope)


@dataclass
class FixedTarget:
    """In the place of `TargetBatches`."""

    rows: torch.Tensor

    def batch(self, *_: Any) -> torch.Tensor:
        return self.rows


def setting(weight: float = 1.0) -> tuple[nn.Sequential, DannLoss, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    with torch.random.fork_rng([]):
        torch.manual_seed(2)
        network = nn.Sequential(nn.Linear(6, N_FEATURES), domain_head(nn.Linear(N_FEATURES, N_LABELS), 8, seed=0)).double()
    inputs = torch.randn(N_SOURCE, 6, generator=generator, dtype=torch.float64)
    target: Any = FixedTarget(torch.randn(N_TARGET, 6, generator=generator, dtype=torch.float64) + 1)
    objective = Objective(N_LABELS, "one", 0.0, None)
    loss = DannLoss(DannAdaptation(max_weight=weight), objective, target, n_steps=10, n_epochs=2)
    return network, loss, inputs, torch.arange(N_SOURCE) % N_LABELS


PART = StepPart(epoch=2, step=5, number=0, n_parts=1)  # progress 0.75


def by_hand(network: nn.Sequential, loss: DannLoss, inputs: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Label loss and domain loss, written out."""
    head: Any = network[1]
    rows = network[0](inputs), network[0](loss.target.batch(0, 0, 1, torch.device("cpu")))
    logits = head.classifier(rows[0])
    label_loss = (torch.logsumexp(logits, 1) - logits[torch.arange(N_SOURCE), targets]).mean()
    guesses = [torch.sigmoid(head.discriminator(part.float().to(part)).flatten()) for part in rows]
    return label_loss, (-guesses[0].log().mean() - (1 - guesses[1]).log().mean()) / 2


def gradients(value: torch.Tensor, parameters: list[nn.Parameter]) -> list[torch.Tensor]:
    return [item if item is not None else torch.zeros(1) for item in torch.autograd.grad(value, parameters, allow_unused=True)]


def test_every_part_is_moved_as_the_paper_says() -> None:
    """Backbone down the label loss and up the domain loss by lambda; head down the label loss; discriminator down the domain loss."""
    network, loss, inputs, targets = setting()
    network = network.float()
    inputs, rows = inputs.float(), loss.target.batch(0, 0, 1, torch.device("cpu")).float()
    loss.target.rows = rows  # type: ignore[attr-defined]
    weight = reversal_weight(0.75, 1.0, 10.0)
    head: Any = network[1]
    backbone, classifier, discriminator = (list(part.parameters()) for part in (network[0], head.classifier, head.discriminator))
    total = loss(network, inputs, targets, PART)
    label_loss, domain_loss = by_hand(network, loss, inputs, targets)
    torch.testing.assert_close(total, label_loss + domain_loss)
    ours = gradients(loss(network, inputs, targets, PART), backbone + classifier + discriminator)
    of_label = gradients(by_hand(network, loss, inputs, targets)[0], backbone + classifier)
    of_domain = gradients(by_hand(network, loss, inputs, targets)[1], backbone + discriminator)
    n = len(backbone)
    for got, down, up in zip(ours[:n], of_label[:n], of_domain[:n], strict=True):
        torch.testing.assert_close(got, down - weight * up, rtol=1e-4, atol=1e-6)
    for got, down in zip(ours[n : 2 * n], of_label[n:], strict=True):
        torch.testing.assert_close(got, down, rtol=1e-4, atol=1e-6)
    for got, down in zip(ours[2 * n :], of_domain[n:], strict=True):
        torch.testing.assert_close(got, down, rtol=1e-4, atol=1e-6)


def test_at_the_start_the_backbone_does_not_feel_the_discriminator() -> None:
    network, loss, inputs, targets = setting()
    network, loss.target.rows = network.float(), loss.target.rows.float()  # type: ignore[attr-defined]
    backbone = list(network[0].parameters())
    ours = gradients(loss(network, inputs.float(), targets, StepPart(1, 0, 0, 1)), backbone)
    of_label = gradients(by_hand(network, loss, inputs.float(), targets)[0], backbone)
    for got, wanted in zip(ours, of_label, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-6)


def test_the_head_answers_as_before_and_ships_without_the_discriminator() -> None:
    linear = nn.Linear(N_FEATURES, N_LABELS)
    rows = torch.from_numpy(np.random.default_rng(0).normal(size=(6, N_FEATURES)).astype(np.float32))
    wanted = linear(rows)
    head = domain_head(linear, 8, seed=0)
    assert torch.equal(head(rows), wanted)
    shipped = plain_head(head)
    assert list(shipped.state_dict()) == ["weight", "bias"]
    assert torch.equal(shipped(rows), wanted)


def test_the_discriminator_starts_from_the_seed() -> None:
    starts = [domain_head(nn.Linear(4, 2), 8, seed).state_dict()["discriminator.0.weight"] for seed in (0, 0, 1)]
    assert torch.equal(starts[0], starts[1])
    assert not torch.equal(starts[0], starts[2])
