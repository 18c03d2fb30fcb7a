"""The loss of guessed tokens: of a step of training, and of the texts that are held out.

Letters for shapes: b batch, l token ids, v tokens of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipelines.core.modalities.text import padded
from pipelines.masked_language.masking import Masking, masked
from pipelines.masked_language.texts import Piece
from pipelines.training.batches import stateless_seed
from pipelines.training.step import StepPart

if TYPE_CHECKING:
    import torch
    from torch import nn

_BATCH_SIZE = 16


@dataclass(frozen=True, eq=False)
class MaskedLoss:
    """Mean cross entropy of the tokens that are to be guessed in a part of a step; what is hidden changes in every round.

    Attributes:
        masking: Of the tokeniser.
        seed: Of what is hidden.
    """

    masking: Masking
    seed: int

    def __call__(self, view: nn.Sequential, inputs: torch.Tensor, targets: torch.Tensor, part: StepPart) -> torch.Tensor:
        """As `pipelines.training.step.PartLoss`; `targets` name the pieces."""
        import torch

        seeds = [stateless_seed("mask", self.seed, part.epoch, piece) for piece in targets.tolist()]
        seen, guessed = masked(inputs.cpu().numpy(), self.masking, seeds)
        logits = view(torch.from_numpy(seen).to(inputs.device))
        places = torch.from_numpy(guessed).to(inputs.device)
        losses = token_losses(logits, inputs, places)
        # A part in which nothing was hidden teaches nothing.
        return losses.sum() / max(1, len(losses))


def token_losses(logits: torch.Tensor, ids: torch.Tensor, guessed: torch.Tensor) -> torch.Tensor:
    """Cross entropy, in nats, of each token that is to be guessed.

    Args:
        logits: [b, l, v].
        ids: int64 [b, l], the true ones.
        guessed: bool [b, l].
    """
    from torch.nn import functional

    return functional.cross_entropy(logits[guessed].float(), ids[guessed], reduction="none")


@dataclass(frozen=True)
class HeldOutLoss:
    """How well hidden tokens of held-out texts are guessed.

    Attributes:
        loss: Mean cross entropy in nats.
        accuracy: Share that is guessed right, in [0, 1].
        n_tokens: That were to be guessed.
    """

    loss: float
    accuracy: float
    n_tokens: int


def held_out_loss(network: nn.Module, pieces: Sequence[Piece], masking: Masking, seed: int) -> HeldOutLoss:
    """Measures on the same hidden tokens each time; the network is left in evaluation mode.

    Args:
        network: int64 [b, l] -> [b, l, v].
        pieces: Of held-out texts.
        masking: Of the tokeniser.
        seed: Of what is hidden.
    """
    import torch

    network.eval()
    device = next(network.parameters()).device
    # Of like lengths: little is computed for padding.
    ordered = sorted(pieces, key=lambda piece: (len(piece.ids), piece.name))
    losses, right = [], []
    for start in range(0, len(ordered), _BATCH_SIZE):
        batch = ordered[start : start + _BATCH_SIZE]
        ids = padded([piece.ids.astype(np.int64) for piece in batch])
        seen, guessed = masked(ids, masking, [stateless_seed("held out mask", seed, piece.name) for piece in batch])
        with torch.inference_mode():
            truth, places = torch.from_numpy(ids).to(device), torch.from_numpy(guessed).to(device)
            logits = network(torch.from_numpy(seen).to(device))
            losses.append(token_losses(logits, truth, places).double().cpu().numpy())
            right.append((logits[places].argmax(dim=1) == truth[places]).cpu().numpy())
    every = np.concatenate(losses)
    return HeldOutLoss(float(every.mean()), float(np.concatenate(right).mean()), len(every)) if len(every) else HeldOutLoss(np.inf, 0.0, 0)
