"""Token ids to features, as a torch module. Imported where one is built: it imports torch.

Letters for shapes: b batch, l token ids, d features.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import nn

# Names of repeated layers and of what stands before the first one, in the library's models: embeddings of BERT, wte and wpe of GPT-2, …
_LAYER_NAMES = r"^model\.(?:\w+\.)*?(?:layer|layers|h|block|blocks)\.(\d+)\."
_STEM_NAMES = r"^model\.(?:embeddings|embeddings_project|wte|wpe|embed_tokens|embed_in|word_embedding|word_embeddings)\b"


class TextNetwork(nn.Module):
    """A transformer and its pooling: int64 [b, l], -1 behind each text -> float [b, d]."""

    def __init__(self, model: Any, pooling: Literal["mean", "cls", "last_token"]) -> None:
        super().__init__()
        self.model = model
        self.pooling = pooling
        # What stands at padded places does not matter to the result but must be an id; models that count positions by it need the true one.
        self._filler = int(getattr(model.config, "pad_token_id", None) or 0)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Features [b, d]."""
        mask = ids >= 0
        states = self.model(input_ids=torch.where(mask, ids, self._filler), attention_mask=mask.long()).last_hidden_state
        if self.pooling == "cls":
            return torch.as_tensor(states[:, 0])
        if self.pooling == "last_token":
            return torch.as_tensor(states[torch.arange(len(ids), device=ids.device), mask.sum(dim=1) - 1])
        weights = mask.unsqueeze(-1).to(states.dtype)
        return torch.as_tensor((states * weights).sum(dim=1) / weights.sum(dim=1))

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Blocks as timm's models name them, for learning rates that fall on the way down: embeddings, then layer by layer.

        What is named by neither, a last norm for one, counts as the uppermost block.
        """
        return {"stem": _STEM_NAMES, "blocks": _LAYER_NAMES}
