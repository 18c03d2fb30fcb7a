"""Fine-tuning of the upper blocks, from the probe's solution (LP-FT, Kumar et al. 2022, https://arxiv.org/abs/2202.10054).

We differ from the paper in training only the last blocks, each more slowly than the one above it (ULMFiT's discriminative rates,
https://arxiv.org/abs/1801.06146), and in keeping batch-norm statistics as they were pretrained: with few samples they are noise.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from pipelines.calibrate import fit_temperature, log_loss
from pipelines.config import LpFtMethod
from pipelines.core.errors import ConfigurationError, DataError
from pipelines.progress import Progress
from pipelines.training.augment import shift_scale_rotate
from pipelines.training.features import embed
from pipelines.training.inputs import SampleInputs

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True)
class Epoch:
    """One row of the training curve. Epoch 0 is the start, before any step.

    Attributes:
        train_loss: Mean smoothed cross entropy; None at the start.
        validation_log_loss: At the temperature that suits it best: what would ship after calibration. Infinite where the network
            overflows.
        validation_accuracy: In [0, 1].
    """

    number: int
    train_loss: float | None
    validation_log_loss: float
    validation_accuracy: float

    def as_row(self) -> dict[str, int | float | None]:
        """For JSON, which has no infinity."""
        return {name: value if value is None or math.isfinite(value) else None for name, value in asdict(self).items()}


def fine_tune(
    network: nn.Sequential, train: SampleInputs, validation: SampleInputs, method: LpFtMethod, seed: int, progress: Progress
) -> list[Epoch]:
    """Trains the head and the last blocks in place and leaves the weights of the best epoch, the start included.

    With no blocks to train the probe's head stays as it is: the curve has epoch 0 alone.

    Args:
        network: Backbone and head, [b, c, h, w] -> logits [b, k].
        train: Training samples.
        validation: Choose the epoch; never trained on.
        method: Recipe.
        seed: Of order and augmentation.
        progress: Told after every epoch.

    Returns:
        The curve; the best epoch is the first with the lowest validation log loss.

    Raises:
        DataError: The loss is not finite; names the samples of the batch.
    """
    if method.n_upper_blocks == 0:
        return [_measure(network, validation, number=0, train_loss=None)]
    with _deterministic():
        return _fine_tune(network, train, validation, method, seed, progress)


def _fine_tune(
    network: nn.Sequential, train: SampleInputs, validation: SampleInputs, method: LpFtMethod, seed: int, progress: Progress
) -> list[Epoch]:
    optimizer, scheduler = _optimization(network, method, n_steps=method.epochs * math.ceil(len(train) / method.batch_size))
    curve = [_measure(network, validation, number=0, train_loss=None)]
    best = copy.deepcopy(network.state_dict())
    for number in range(1, method.epochs + 1):
        loss = _train_epoch(network, train, method, optimizer, scheduler, np.random.default_rng([seed, number]))
        curve.append(_measure(network, validation, number, loss))
        progress("fine-tuning", number, method.epochs)
        best_number = best_epoch(curve)
        if best_number == number:
            best = copy.deepcopy(network.state_dict())
        if method.early_stopping_epochs is not None and number - best_number >= method.early_stopping_epochs:
            progress("fine-tuning", method.epochs, method.epochs)
            break
    network.load_state_dict(best)
    return curve


def best_epoch(curve: list[Epoch]) -> int:
    """The number of the first epoch with the lowest validation log loss."""
    return min(curve, key=lambda epoch: (epoch.validation_log_loss, epoch.number)).number


def trainable_groups(backbone: nn.Module, n_upper_blocks: int) -> list[list[nn.Parameter]]:
    """The parameters of the last blocks, the uppermost first, as timm divides the architecture.

    Raises:
        ConfigurationError: More blocks are asked for than there are.
    """
    from timm.models import group_parameters

    names: dict[int, list[str]] = group_parameters(backbone, cast("Any", backbone).group_matcher(coarse=True))
    blocks = [names[key] for key in sorted(names)]
    if n_upper_blocks > len(blocks):
        raise ConfigurationError(
            got=f"method.n_upper_blocks {n_upper_blocks}.",
            allowed=f"0 to {len(blocks)}, the number of blocks of this backbone.",
            next_step="lower it in the conf file.",
        )
    parameters = dict(backbone.named_parameters())
    return [[parameters[name] for name in block] for block in reversed(blocks[len(blocks) - n_upper_blocks :])]


def _optimization(
    network: nn.Sequential, method: LpFtMethod, n_steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LambdaLR]:
    import torch

    backbone, head = network[0], network[1]
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    groups = [list(head.parameters()), *trainable_groups(backbone, method.n_upper_blocks or 0)]
    settings = []
    for depth, parameters in enumerate(groups):
        rate = method.learning_rate * method.layer_decay**depth
        # Norms and biases are spared: decaying them only moves the function.
        for decay, chosen in ((method.weight_decay, [p for p in parameters if p.ndim > 1]), (0.0, [p for p in parameters if p.ndim <= 1])):
            settings.append({"params": chosen, "lr": rate, "weight_decay": decay})
            for parameter in chosen:
                parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW([group for group in settings if group["params"]])
    n_warmup = max(1, round(n_steps * method.warmup_frac))
    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _warmup_cosine(step, n_warmup, n_steps))


def _warmup_cosine(step: int, n_warmup: int, n_steps: int) -> float:
    if step < n_warmup:
        return (step + 1) / n_warmup
    return 0.5 * (1 + math.cos(math.pi * (step - n_warmup) / max(1, n_steps - n_warmup)))


def _train_epoch(
    network: nn.Sequential,
    train: SampleInputs,
    method: LpFtMethod,
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LambdaLR,
    rng: np.random.Generator,
) -> float:
    import torch
    from torch.nn import functional

    network.eval()  # keeps batch-norm statistics and switches dropout off; gradients flow all the same
    device = next(network.parameters()).device
    augmentation = torch.Generator().manual_seed(int(rng.integers(2**62)))
    order = rng.permutation(len(train))
    losses = []
    for start in range(0, len(order), method.batch_size):
        chosen = order[start : start + method.batch_size]
        batch = torch.from_numpy(train.batch(chosen)).to(device)
        if method.augment.policy == "shift_scale_rotate":
            batch = shift_scale_rotate(batch, augmentation)
        targets = torch.from_numpy(train.targets[chosen]).to(device)
        loss = functional.cross_entropy(network(batch), targets, label_smoothing=method.label_smoothing)
        _refuse_not_finite(float(loss.detach()), train, chosen)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch 2.15 leaves it untyped
        torch.nn.utils.clip_grad_norm_((p for p in network.parameters() if p.requires_grad), method.max_gradient_norm)
        optimizer.step()
        scheduler.step()
        losses.append(float(loss.detach()) * len(chosen))
    return sum(losses) / len(train)


def _refuse_not_finite(loss: float, train: SampleInputs, chosen: NDArray[np.int64]) -> None:
    if not math.isfinite(loss):
        paths = ", ".join(train.samples[int(index)].path for index in chosen[:5])
        raise DataError(
            got=f"a training loss of {loss} in the batch with {paths} and {max(0, len(chosen) - 5)} more samples.",
            allowed="a finite loss.",
            next_step="lower method.learning_rate, and look at these samples.",
        )


def _measure(network: nn.Sequential, validation: SampleInputs, number: int, train_loss: float | None) -> Epoch:
    logits = embed(network, validation)
    usable = bool(np.isfinite(logits).all())
    return Epoch(
        number=number,
        train_loss=train_loss,
        validation_log_loss=log_loss(logits, validation.targets, fit_temperature(logits, validation.targets)) if usable else math.inf,
        validation_accuracy=float((logits.argmax(axis=1) == validation.targets).mean()),
    )


@contextmanager
def _deterministic() -> Iterator[None]:
    import torch

    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
