"""A training begins on the configured device, in a precision that the backbone was asked about."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from torch import nn

from pipelines.core.errors import ConfigurationError
from pipelines.training import precision
from pipelines.training.placing import place
from tests.pipelines.training.gradient_cases import Arrays, config, network


class Drowned(nn.Module):
    """What tells samples apart is small beside what they share."""

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return torch.relu(batch.flatten(1) @ torch.ones(64, 8) + 1e4)


@pytest.mark.parametrize(("n_samples", "n_compared"), [(5, 5), (40, 32)])
def test_precisions_are_compared_on_the_first_samples(n_samples: int, n_compared: int) -> None:
    train = Arrays(n_samples, seed=0)
    placed = place(network(), train, config())
    assert placed.runtime.device == torch.device("cpu")
    np.testing.assert_array_equal(placed.example.numpy(), train.images[:n_compared])


def test_the_backbone_alone_decides_on_the_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_bf16", lambda _: True)
    precision._say_once.cache_clear()
    wanted = config(compute={"precision": "auto"})
    sound = place(nn.Sequential(network()[0], Drowned()), Arrays(16, seed=0), wanted)
    drowned = place(nn.Sequential(Drowned(), nn.Identity()), Arrays(16, seed=0), wanted)
    assert sound.runtime.precision.name == "bf16"
    assert drowned.runtime.precision.name == "fp32"
    assert re.search("bfloat16 moves features by", drowned.runtime.precision.reason)


def test_bfloat16_where_there_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_bf16", lambda _: False)
    with pytest.raises(ConfigurationError, match="bf16 on a cpu without bfloat16 instructions"):
        place(network(), Arrays(4, seed=0), config(compute={"precision": "bf16"}))
