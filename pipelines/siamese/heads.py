"""SimSiam's projector and predictor as torch modules. Imported where they are built: it imports torch.

Letters for shapes: b batch, d features of the backbone, o outputs.
"""

from __future__ import annotations

import torch
from torch import nn

# The paper has 2048 and 512 over a ResNet-50 and a million images; what a few thousand need is less, and a step on a CPU has its price.
N_OUTPUTS = 512
N_BOTTLENECK = 128


class SiameseHeads(nn.Module):
    """A projector of three layers, and a predictor that is a bottleneck of two: features [b, d] -> predictions [b, o].

    Batch norms are in hidden layers alone, row (b) of the paper's table 3, which is 0.7 points below one in the projector's last layer
    too. That one keeps the outputs' spread up whatever happens: without the stop-gradient they fall into few dimensions, and nobody sees.
    """

    def __init__(self, n_features: int, n_outputs: int = N_OUTPUTS, n_bottleneck: int = N_BOTTLENECK) -> None:
        super().__init__()
        self.projector = nn.Sequential(
            nn.Linear(n_features, n_outputs, bias=False),
            nn.BatchNorm1d(n_outputs),
            nn.ReLU(),
            nn.Linear(n_outputs, n_outputs, bias=False),
            nn.BatchNorm1d(n_outputs),
            nn.ReLU(),
            nn.Linear(n_outputs, n_outputs),
        )
        self.predictor = nn.Sequential(
            nn.Linear(n_outputs, n_bottleneck, bias=False),
            nn.BatchNorm1d(n_bottleneck),
            nn.ReLU(),
            nn.Linear(n_bottleneck, n_outputs),
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Predictions."""
        return torch.as_tensor(self.predictor(self.projector(features)))

    def both(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Predictions and projections, each [b, o]."""
        projected = self.projector(features)
        return self.predictor(projected), projected
