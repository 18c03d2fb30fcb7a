"""DANN: a discriminator learns to tell the domains apart, and the backbone learns features from which it cannot.

Letters for shapes: b source rows, t target rows, d features, k labels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines.config import DannAdaptation
from pipelines.core.heads import build_head
from pipelines.training.adaptation.target_batches import TargetBatches
from pipelines.training.batches import stateless_seed
from pipelines.training.objective import Objective
from pipelines.training.regularisation import seeded_layers
from pipelines.training.step import StepPart

if TYPE_CHECKING:
    import torch
    from torch import nn


def reversal_weight(progress: float, max_weight: float, steepness: float) -> float:
    """The weight of the reversed gradient: max_weight * (2 / (1 + exp(-steepness * progress)) - 1), section 5.2.2 of the paper.

    Args:
        progress: Share of the training that is done, in [0, 1].
        max_weight: 1 in the paper.
        steepness: 10 in the paper.
    """
    return max_weight * (2.0 / (1.0 + math.exp(-steepness * progress)) - 1.0)


def reverse_gradient(values: torch.Tensor, weight: float) -> torch.Tensor:
    """The values themselves, whose gradient is multiplied by -weight on its way back."""
    kept = -weight * values
    # The difference is exactly 0; its gradient is that of `kept`.
    return values.detach() + (kept - kept.detach())


def domain_head(head: nn.Linear, n_hidden: int, seed: int) -> nn.Module:
    """The classifier with a discriminator beside it: called it gives the classifier's logits, so the network answers as it did.

    Args:
        head: Linear [k, d].
        n_hidden: Of the discriminator's hidden layer.
        seed: Of its start.
    """
    from torch import nn

    class DomainHead(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.classifier = head
            n_features = head.in_features
            self.discriminator = nn.Sequential(nn.Linear(n_features, n_hidden), nn.ReLU(), nn.Linear(n_hidden, 1))

        def forward(self, features: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.classifier(features)
            return logits

    device = next(head.parameters()).device
    with seeded_layers(stateless_seed("discriminator", seed), "cpu"):
        return DomainHead().to(device)


def plain_head(head: Any) -> nn.Module:
    """The classifier of a `domain_head` alone, as it ships."""
    classifier = head.classifier
    plain = build_head(classifier.in_features, classifier.out_features)
    plain.load_state_dict(classifier.state_dict())
    return plain.to(classifier.weight.device)


@dataclass(frozen=True, eq=False)
class DannLoss:
    """The label loss on source rows plus the discriminator's loss on source and target rows, behind a reversed gradient.

    Ganin et al. 2016, https://arxiv.org/abs/1505.07818. We differ in starting from a trained model, in AdamW with a cosine in place of SGD
    with momentum, and in one hidden layer of the discriminator for every backbone.

    Attributes:
        method: Weight of the reversed gradient and its rise.
        objective: Of the labelled rows.
        target: The unlabelled samples.
        n_steps: Of one epoch.
        n_epochs: Of the training.
    """

    method: DannAdaptation
    objective: Objective
    target: TargetBatches
    n_steps: int
    n_epochs: int

    def __call__(self, view: nn.Sequential, inputs: torch.Tensor, targets: torch.Tensor, part: StepPart) -> torch.Tensor:
        """As `pipelines.training.step.PartLoss`."""
        import torch
        from torch.nn import functional

        done = (part.epoch - 1) * self.n_steps + part.step
        weight = reversal_weight(done / (self.n_epochs * self.n_steps), self.method.max_weight, self.method.steepness)
        own = view[0](inputs)
        logits = view[1:](own)
        # Apart from the source's rows: batch norm would mix the two domains' statistics within a batch.
        other = view[0](self.target.batch(done, part.number, part.n_parts, inputs.device))
        head: Any = view[-1]
        guesses = head.discriminator(reverse_gradient(torch.cat([own, other]).float(), weight)).flatten()
        is_source = torch.cat([torch.ones(len(own)), torch.zeros(len(other))]).to(guesses)
        # Each domain counts half, however many rows it has.
        rows = functional.binary_cross_entropy_with_logits(guesses.float(), is_source.float(), reduction="none")
        domain_loss = (rows[: len(own)].mean() + rows[len(own) :].mean()) / 2
        return self.objective.losses(logits, targets).mean() + domain_loss
