"""Features of a file out of those of its patches.

Letters for shapes: b batch, p patches, c channels, h height, w width, d features.
"""

from __future__ import annotations

import torch
from torch import nn


class PatchPooling(nn.Module):
    """A network of patches as one of files: [b, p, c, h, w] -> the mean of the patches' features [b, d].

    Patches of NaN are none: they are left out of the mean. The names of the tensors are the network's own after `network.`
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """[b, p, c, h, w] -> [b, d]."""
        present = ~torch.isnan(patches[:, :, 0, 0, 0])
        features = self._features(patches.flatten(0, 1), present.flatten())
        by_file = features.reshape(*present.shape, features.shape[-1])
        weights = present.to(features.dtype)[:, :, None]
        return (by_file * weights).sum(dim=1) / weights.sum(dim=1)

    def _features(self, patches: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        if not self.training:
            # All of them go through the network, so that a batch has one size whoever is in it.
            answered: torch.Tensor = self.network(torch.where(present[:, None, None, None], patches, 0))
            return answered
        # What is no patch must not count in the statistics of batch norms.
        places = present.nonzero()[:, 0]
        some: torch.Tensor = self.network(patches[places])
        return some.new_zeros((len(patches), some.shape[1])).index_copy(0, places, some)


def network_of_patches(backbone: nn.Module) -> nn.Module:
    """The network that a patch goes through; of a backbone that pools none, the backbone itself."""
    return backbone.network if isinstance(backbone, PatchPooling) else backbone
