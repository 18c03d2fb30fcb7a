"""SHOT: the head stays as the source made it, and the backbone moves until the head is sure of the target's samples and of many classes.

Letters for shapes: n target samples, b rows, d features, k labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipelines.config import ShotAdaptation
from pipelines.core.heads import build_head
from pipelines.training.inputs import SampleInputs
from pipelines.training.step import StepPart

if TYPE_CHECKING:
    import torch
    from torch import nn

Floats = NDArray[np.float64]
# Of a class's answers over all samples; below it a mean is that of rounding.
_LEAST_TOTAL = 1e-12


def information_loss(logits: torch.Tensor, diversity: float) -> torch.Tensor:
    """Mean entropy of the answers minus `diversity` times the entropy of their mean: equations 3 and 4 of the paper.

    Args:
        logits: [b, k].
        diversity: 1 in the paper.

    Returns:
        A scalar, in nats.
    """
    from torch.nn import functional

    logs = functional.log_softmax(logits.float(), dim=1)
    entropy = -(logs.exp() * logs).sum(dim=1).mean()
    mean = logs.exp().mean(dim=0)
    return entropy + diversity * (mean * mean.clamp_min(1e-12).log()).sum()


def pseudo_labels(features: NDArray[np.floating], probabilities: NDArray[np.floating]) -> NDArray[np.int64]:
    """Labels of the nearest class centre by cosine: centres weighted by the answers, then once more by the labels so found.

    Equations 5 and 6 of the paper. As in the authors' code a constant 1 is appended to the features before they are scaled to length 1,
    and a class that no sample is nearest to has no centre in the second round. Nor has one in the first that no answer gives any weight.

    Args:
        features: [n, d], n at least 1.
        probabilities: [n, k].

    Returns:
        [n], in [0, k).
    """
    rows = np.concatenate([np.asarray(features, dtype=np.float64), np.ones((len(features), 1))], axis=1)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    answers = np.asarray(probabilities, dtype=np.float64)
    labels = _nearest(rows, answers)
    return _nearest(rows, np.asarray(labels[:, None] == np.arange(answers.shape[1]), dtype=np.float64))


def _nearest(rows: Floats, weights: Floats) -> NDArray[np.int64]:
    totals = weights.sum(axis=0)
    classes = np.flatnonzero(totals > _LEAST_TOTAL)
    # The constant column keeps every centre away from 0.
    centres = (weights[:, classes] / totals[classes]).T @ rows
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    # Of centres that are equally near the first, whatever a product's last bits are.
    return np.asarray(classes[np.round(rows @ centres.T, 12).argmax(axis=1)], dtype=np.int64)


def frozen_head(head: Any) -> nn.Module:
    """The same linear map without parameters: the source's hypothesis, which is not trained."""
    from torch import nn
    from torch.nn import functional

    class FrozenHead(nn.Module):
        weight: torch.Tensor
        bias: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("weight", head.weight.detach().clone())
            self.register_buffer("bias", head.bias.detach().clone())

        def forward(self, features: torch.Tensor) -> torch.Tensor:
            return functional.linear(features, self.weight, self.bias)

    return FrozenHead()


def thawed_head(head: Any) -> nn.Module:
    """A linear layer again, as it ships."""
    plain = build_head(head.weight.shape[1], head.weight.shape[0])
    plain.load_state_dict(head.state_dict())
    return plain.to(head.weight.device)


@dataclass(frozen=True, eq=False)
class ShotLoss:
    """Information maximisation, and cross entropy with the pseudo-labels of the epoch.

    Liang et al. 2020, https://arxiv.org/abs/2002.08546, equation 7. We differ in the source's model, which has neither their bottleneck
    with batch norm nor weight normalisation of the head, in AdamW with a cosine, and in all blocks learning at the recipe's rates. Where
    memory cuts a step in parts, diversity is that of each part.
    """

    method: ShotAdaptation

    def __call__(self, view: nn.Sequential, inputs: torch.Tensor, targets: torch.Tensor, part: StepPart) -> torch.Tensor:
        """As `pipelines.training.step.PartLoss`; `targets` are pseudo-labels."""
        from torch.nn import functional

        logits = view(inputs).float()
        loss = information_loss(logits, self.method.diversity)
        if self.method.pseudo_label_weight > 0:
            loss = loss + self.method.pseudo_label_weight * functional.cross_entropy(logits, targets)
        return loss


@dataclass(frozen=True, eq=False)
class PseudoLabels:
    """Labels the target's samples anew with the network as it is, into the array that batches read their targets from."""

    network: nn.Sequential
    target: SampleInputs
    n_workers: int | None

    def renew(self, _epoch: int) -> None:
        """Called before an epoch."""
        import torch

        from pipelines.core.heads import softmax
        from pipelines.training.embedding import embed

        features = embed(self.network[0], self.target, n_workers=self.n_workers)
        with torch.inference_mode():
            device = next(self.network.parameters()).device
            logits = self.network[1](torch.from_numpy(features).to(device)).cpu().numpy()
        self.target.targets[:] = pseudo_labels(features, softmax(logits))
