"""A transformer with its head for masked language modelling, as a torch module. Imported where one is built: it imports torch.

Letters for shapes: b batch, l token ids, v tokens of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn


class LanguageModel(nn.Module):
    """int64 [b, l], -1 behind each text -> logits [b, l, v]."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        # As in `TextNetwork`: it does not matter to the result.
        self._filler = int(getattr(model.config, "pad_token_id", None) or 0)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Logits of every place."""
        mask = ids >= 0
        return torch.as_tensor(self.model(input_ids=torch.where(mask, ids, self._filler), attention_mask=mask.long()).logits)

    @property
    def base(self) -> nn.Module:
        """The transformer without the head."""
        return torch.nn.Module.get_submodule(self.model, self.model.base_model_prefix)


class HeadParameters(nn.Module):
    """Names the parameters of the head, which lie in the model itself, as those of a network's head; what goes in comes out."""

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        super().__init__()
        self.shared = nn.ParameterList(parameters)

    def forward(self, logits: torch.Tensor) -> torch.Tensor:
        """The same."""
        return logits
