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
        n_files, n_patches = present.shape
        # All of them go through the network, so that a batch has one size whoever is in it.
        filled = torch.where(present[:, :, None, None, None], patches, 0)
        features: torch.Tensor = self.network(filled.flatten(0, 1)).unflatten(0, (n_files, n_patches))
        weights = present.to(features.dtype)[:, :, None]
        return (features * weights).sum(dim=1) / weights.sum(dim=1)


def network_of_patches(backbone: nn.Module) -> nn.Module:
    """The network that a patch goes through; of a backbone that pools none, the backbone itself."""
    return backbone.network if isinstance(backbone, PatchPooling) else backbone
