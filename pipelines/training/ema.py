"""An exponential moving average of a network's weights (Polyak and Juditsky 1992, https://doi.org/10.1137/0330046)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import nn


class Ema:
    """The average of a network's parameters over its steps.

    The n-th update, from 1, decays by min(decay, 1 - n^(-2/3)), timm's warm-up: a training of few steps would otherwise end near its start.
    Buffers (batch-norm statistics) are averages already and are copied.

    Args:
        network: Where the average starts; not held on to.
        decay: In (0, 1).
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        from timm.utils import ModelEmaV3

        self._average = ModelEmaV3(network, decay=decay, use_warmup=True, exclude_buffers=True)
        self._n_updates = 0

    def update(self, network: nn.Module) -> None:
        """Takes the network's weights after a step of the optimiser into the average."""
        self._n_updates += 1
        self._average.update(network, step=self._n_updates)

    @property
    def weights(self) -> dict[str, torch.Tensor]:
        """The averaged network's `state_dict`; its tensors change with the next update."""
        return dict(self._average.module.state_dict())

    def state_dict(self) -> dict[str, Any]:
        """All that resuming needs: `n_updates`, and `weights`, whose tensors change with the next update."""
        return {"n_updates": self._n_updates, "weights": self.weights}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `state_dict` gave."""
        self._average.module.load_state_dict(state["weights"])
        self._n_updates = int(state["n_updates"])
