"""The two halves of a CLIP as torch modules. Imported where one is built: it imports torch.

Letters for shapes: b batch, c channels, h height, w width, l token ids, d features.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class ClipImages(nn.Module):
    """Images to points of the common space: [b, c, h, w] -> [b, d]."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.tower, self.projection = model.vision_model, model.visual_projection

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Points [b, d], of any length."""
        return torch.as_tensor(self.projection(self.tower(pixel_values=images).pooler_output))


class ClipTexts(nn.Module):
    """Token ids without padding to points of the common space: int64 [b, l] -> [b, d]."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.tower, self.projection = model.text_model, model.text_projection

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Points [b, d], of any length."""
        return torch.as_tensor(self.projection(self.tower(input_ids=ids).pooler_output))
