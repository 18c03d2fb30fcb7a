"""The optimiser of a fine-tuning: which parameters move, how fast, and how far from where they started.

AdamW (Loshchilov and Hutter 2019, https://arxiv.org/abs/1711.05101) with rates that fall from block to block on the way down (ULMFiT's
discriminative rates, Howard and Ruder 2018, https://arxiv.org/abs/1801.06146), a linear warm-up and a cosine.
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from pipelines.core.errors import ConfigurationError

if TYPE_CHECKING:
    import torch
    from torch import nn

    from pipelines.config import Recipe

# beta of L2-SP, of the head: the value that is usually taken, since what matters is alpha, of the backbone.
L2_SP_HEAD_STRENGTH = 0.01


def trainable_groups(backbone: nn.Module, n_upper_blocks: int | None) -> list[list[nn.Parameter]]:
    """The parameters of the last blocks, the uppermost first, as timm divides the architecture.

    A last norm that follows the blocks is a block of its own in some architectures (ConvNeXt, Swin, DenseNet), as in timm.

    Args:
        backbone: Of timm.
        n_upper_blocks: How many; None is all of them, and then every parameter of the backbone is in exactly one group.

    Raises:
        ConfigurationError: More blocks are asked for than there are.
    """
    from timm.models import group_parameters

    from pipelines.core.patch_pooling import network_of_patches

    backbone = network_of_patches(backbone)
    names: dict[int, list[str]] = group_parameters(backbone, cast("Any", backbone).group_matcher(coarse=True))
    blocks = [names[key] for key in sorted(names)]
    n_blocks = len(blocks) if n_upper_blocks is None else n_upper_blocks
    if n_blocks > len(blocks):
        raise ConfigurationError(
            got=f"method.n_upper_blocks {n_blocks}.",
            allowed=f"0 to {len(blocks)}, the number of blocks of this backbone.",
            next_step="lower it in the conf file, or remove it to train all blocks.",
        )
    parameters = dict(backbone.named_parameters())
    return [[parameters[name] for name in block] for block in reversed(blocks[len(blocks) - n_blocks :])]


def build_optimizer(
    network: nn.Sequential, groups: Sequence[Sequence[nn.Parameter]], recipe: Recipe, n_steps: int
) -> tuple[torch.optim.AdamW, torch.optim.lr_scheduler.LambdaLR]:
    """AdamW over the head and the groups, with its schedule; all other parameters of the network are frozen.

    The head learns at `recipe.learning_rate`, the n-th group at `layer_decay**n` of it. With `l2_sp` the penalty takes the place of weight
    decay, which would pull the pretrained weights to 0.

    Args:
        network: Backbone and head.
        groups: Of the backbone, the uppermost first.
        recipe: Rates and decay.
        n_steps: Of the whole training, at least 1.
    """
    import torch

    for parameter in network.parameters():
        parameter.requires_grad_(False)
    spared = _spared_from_decay(network)
    weight_decay = 0.0 if recipe.l2_sp > 0 else recipe.weight_decay
    settings: list[dict[str, Any]] = []
    for depth, parameters in enumerate([list(network[1].parameters()), *groups]):
        rate = recipe.learning_rate * recipe.layer_decay**depth
        for decay, is_spared in ((weight_decay, False), (0.0, True)):
            chosen = [parameter.requires_grad_(True) for parameter in parameters if (id(parameter) in spared) == is_spared]
            if chosen:
                settings.append({"params": chosen, "lr": rate, "weight_decay": decay})
    optimizer = torch.optim.AdamW(settings)
    n_warmup = warmup_steps(recipe.warmup_frac, n_steps)
    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: warmup_cosine(step, n_warmup, n_steps))


def _spared_from_decay(network: nn.Sequential) -> set[int]:
    # Decaying norms and biases only moves the function. What the architecture names itself (position embeddings, class tokens) is no
    # weight of a layer either; timm's names may hold stars.
    from pipelines.core.patch_pooling import network_of_patches

    backbone = cast("Any", network_of_patches(network[0]))
    named_by_itself = backbone.no_weight_decay() if hasattr(backbone, "no_weight_decay") else set()
    return {id(parameter) for parameter in network.parameters() if parameter.ndim <= 1} | {
        id(parameter)
        for name, parameter in backbone.named_parameters()
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in named_by_itself)
    }


def warmup_steps(warmup_frac: float, n_steps: int) -> int:
    """Steps in which the rate rises, at least 1."""
    return max(1, round(n_steps * warmup_frac))


def warmup_cosine(step: int, n_warmup: int, n_steps: int) -> float:
    """Share of the peak rate at a step, in [0, 1]: a line up to 1 at the last step of the warm-up, then half a cosine.

    Args:
        step: From 0; at `n_steps`, which is no step any more, the share is 0, and it stays there.
        n_warmup: At least 1.
        n_steps: Of the whole training.
    """
    if step < n_warmup:
        return (step + 1) / n_warmup
    progress = (step - n_warmup) / max(1, n_steps - n_warmup)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def open_groups(groups: Sequence[Sequence[nn.Parameter]], n_open: int) -> None:
    """Gradual unfreezing: the first `n_open` groups are trained, the rest is frozen.

    A frozen parameter must have no gradient when the optimiser steps, or momentum and weight decay would still move it; so it loses what it
    had.

    Args:
        groups: The uppermost first.
        n_open: 0 or more; more than there are opens all.
    """
    for number, parameters in enumerate(groups):
        for parameter in parameters:
            parameter.requires_grad_(number < n_open)
            if number >= n_open:
                parameter.grad = None


def l2_sp_penalty(
    network: nn.Sequential, start: Mapping[str, torch.Tensor], strength: float, head_strength: float = L2_SP_HEAD_STRENGTH
) -> torch.Tensor:
    """L2-SP: alpha / 2 * |w - start|^2 over the backbone plus beta / 2 * |w|^2 over the head.

    Li et al. 2018, https://arxiv.org/abs/1802.01483. Batch-norm statistics are no parameters and not pulled. Frozen parameters are
    left out: they have not moved.

    Args:
        network: Backbone and head.
        start: The network's `state_dict` before training (`0.` and a name for each parameter of the backbone).
        strength: alpha.
        head_strength: beta.

    Returns:
        A scalar to add to the loss.
    """
    import torch

    device = next(network.parameters()).device
    moved = [
        (parameter - start[f"0.{name}"]).square().sum() for name, parameter in network[0].named_parameters() if parameter.requires_grad
    ]
    head = torch.stack([parameter.square().sum() for parameter in network[1].parameters()]).sum()
    distance = torch.stack(moved).sum() if moved else torch.zeros((), device=device)
    return strength / 2 * distance + head_strength / 2 * head
