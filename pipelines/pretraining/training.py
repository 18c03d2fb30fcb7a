"""Trains a backbone as a classifier of characters; the same seed and machine give the same weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipelines.pretraining.augment import augment, ink_boxes
from pipelines.pretraining.omniglot import Characters
from pipelines.pretraining.recipe import PretrainRecipe

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler


@dataclass(frozen=True)
class _Training:
    """The moving parts of one run; `class_vectors` [k, d] are the cosine head."""

    backbone: nn.Module
    class_vectors: nn.Parameter
    optimizer: Optimizer
    schedule: LRScheduler
    generator: Generator
    recipe: PretrainRecipe


@contextmanager
def deterministic(seed: int, n_threads: int) -> Iterator[None]:
    """Seeds torch and allows deterministic kernels only; puts everything back afterwards."""
    import torch

    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_num_threads(n_threads)
        torch.use_deterministic_algorithms(True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(strict)
            torch.set_num_threads(threads)


def train_backbone(backbone: nn.Module, characters: Characters, recipe: PretrainRecipe, progress: Callable[[str], None]) -> list[float]:
    """Trains `backbone` in place to tell the characters, and their quarter turns, apart.

    Args:
        backbone: [b, 1, p, p] -> [b, d], with `num_features`.
        characters: At the recipe's `source_px`.
        recipe: All choices.
        progress: Called with a line for each epoch.

    Returns:
        The mean loss of each epoch.
    """
    import torch

    training = _prepare(backbone, len(characters.names) * recipe.n_rotations, _steps_per_epoch(characters, recipe) * recipe.epochs, recipe)
    boxes = ink_boxes(characters.images)
    losses = []
    for epoch in range(recipe.epochs):
        order = torch.randperm(len(characters.images) * recipe.n_rotations, generator=training.generator)
        batches = torch.split(order[: _steps_per_epoch(characters, recipe) * recipe.batch_size], recipe.batch_size)
        losses.append(sum(_step(training, characters, boxes, batch) for batch in batches) / len(batches))
        progress(f"epoch {epoch + 1}/{recipe.epochs}: loss {losses[-1]:.3f}")
    backbone.eval()
    return losses


def _steps_per_epoch(characters: Characters, recipe: PretrainRecipe) -> int:
    return max(1, len(characters.images) * recipe.n_rotations // recipe.batch_size)


def _prepare(backbone: nn.Module, n_classes: int, n_steps: int, recipe: PretrainRecipe) -> _Training:
    import torch

    backbone.to(memory_format=torch.channels_last).train()
    n_features = int(backbone.num_features)  # type: ignore[arg-type]
    class_vectors = torch.nn.Parameter(torch.randn(n_classes, n_features))
    decayed = [parameter for parameter in backbone.parameters() if parameter.ndim > 1]
    plain = [parameter for parameter in backbone.parameters() if parameter.ndim <= 1]
    groups = [{"params": [*decayed, class_vectors], "weight_decay": recipe.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate)
    n_warmup = max(1, round(recipe.warmup_share * n_steps))

    def share_of_peak(step: int) -> float:
        if step < n_warmup:
            return (step + 1) / n_warmup
        return 0.5 * (1 + math.cos(math.pi * (step - n_warmup) / max(1, n_steps - n_warmup)))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, share_of_peak)
    return _Training(backbone, class_vectors, optimizer, schedule, torch.Generator().manual_seed(recipe.seed), recipe)


def _step(training: _Training, characters: Characters, boxes: Tensor, batch: Tensor) -> float:
    import torch
    from torch.nn import functional

    recipe = training.recipe
    index, turns = batch % len(characters.images), batch // len(characters.images)
    views = augment(characters.images[index], boxes[index], turns, recipe.input_px, recipe.augment, training.generator)
    features = training.backbone((views - recipe.mean) / recipe.std)
    logits = recipe.cosine_scale * functional.normalize(features) @ functional.normalize(training.class_vectors).T
    target = characters.labels[index] + turns * len(characters.names)
    loss = functional.cross_entropy(logits, target, label_smoothing=recipe.label_smoothing)
    training.optimizer.zero_grad()
    torch.autograd.backward(loss)
    training.optimizer.step()
    training.schedule.step()
    return float(loss.detach())
