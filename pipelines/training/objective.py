"""What training minimises: the loss of each sample.

Letters for shapes: n samples, b batch, k labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

    from pipelines.config import Recipe


@dataclass(frozen=True, eq=False)
class Objective:
    """Cross entropy with label smoothing and weights.

    One label a sample: of the softmax; smoothing gives each label label_smoothing / k of the target (Szegedy et al. 2016,
    https://arxiv.org/abs/1512.00567). Many: the mean over labels of the binary cross entropy; smoothing moves each 0 and 1 by half of
    label_smoothing towards 1/2.

    Attributes:
        label_weights: float [k] or None: one label: of each label; many: of each label's negatives.
        positive_weights: float [k] or None: many labels only: of each label's positives, relative to its negatives.
    """

    n_labels: int
    labels_per_sample: Literal["one", "many"]
    label_smoothing: float
    label_weights: torch.Tensor | None
    positive_weights: torch.Tensor | None = None

    def losses(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The loss of each sample; their plain mean is what to minimise.

        With `class_weights: balanced` the mean weight of the training samples is 1, so the learning rate keeps its meaning.

        Args:
            logits: [b, k].
            targets: One label: int64 [b], or what `soft_targets` made of it [b, k]. Many: float [b, k] in [0, 1].

        Returns:
            float [b].
        """
        from torch.nn import functional

        logits = logits.float()  # bfloat16 has no digits left for a loss near 0
        if self.labels_per_sample == "one":
            return functional.cross_entropy(
                logits, targets, weight=self.label_weights, label_smoothing=self.label_smoothing, reduction="none"
            )
        smooth = targets * (1 - self.label_smoothing) + self.label_smoothing / 2
        return functional.binary_cross_entropy_with_logits(
            logits, smooth, weight=self.label_weights, pos_weight=self.positive_weights, reduction="none"
        ).mean(dim=1)

    def soft_targets(self, targets: torch.Tensor) -> torch.Tensor:
        """Targets as float32 [b, k] for mixing, not smoothed yet: `losses` smooths what it is given."""
        from torch.nn import functional

        if self.labels_per_sample == "one":
            return functional.one_hot(targets, self.n_labels).float()
        return targets.float()


def make_objective(
    train_targets: NDArray[Any], n_labels: int, labels_per_sample: Literal["one", "many"], recipe: Recipe, device: str
) -> Objective:
    """The recipe's objective for these training samples.

    Args:
        train_targets: One label a sample: int64 [n]. Many: [n, k] of 0 and 1. The class weights are counted on them.
        n_labels: k.
        labels_per_sample: Which of the two.
        recipe: label_smoothing and class_weights.
        device: Of the logits.
    """
    import torch

    def on_device(weights: NDArray[np.float64] | None) -> torch.Tensor | None:
        return None if weights is None else torch.from_numpy(weights.astype(np.float32)).to(device)

    label_weights = positive_weights = None
    if recipe.class_weights == "balanced":
        if labels_per_sample == "one":
            label_weights = balanced_weights(train_targets, n_labels)
        else:
            label_weights, positive_weights = balanced_binary_weights(train_targets)
    return Objective(n_labels, labels_per_sample, recipe.label_smoothing, on_device(label_weights), on_device(positive_weights))


def balanced_weights(targets: NDArray[np.int64], n_labels: int) -> NDArray[np.float64]:
    """For each label n / (k * count), k being the labels that have samples; the mean over the samples is 1.

    A label without samples has weight 1: no sample asks for it, but smoothing gives it a share of each.

    Args:
        targets: [n], in [0, n_labels).
        n_labels: Length of the result.
    """
    counts = np.bincount(targets, minlength=n_labels)
    present = counts > 0
    weights = np.ones(n_labels)
    weights[present] = len(targets) / (present.sum() * counts[present])
    return weights


def balanced_binary_weights(targets: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """For each label the weight of its negatives, n / (2 * negatives), and of its positives relative to them, negatives / positives.

    Positives and negatives then count the same, and the mean over the samples is 1. A label that all samples have, or none, has weight 1.

    Args:
        targets: [n, k] of 0 and 1.
    """
    n = len(targets)
    positives = np.asarray(targets, dtype=np.float64).sum(axis=0)
    negatives = n - positives
    usable = (positives > 0) & (negatives > 0)
    of_negatives, relative = np.ones(len(positives)), np.ones(len(positives))
    of_negatives[usable] = n / (2 * negatives[usable])
    relative[usable] = negatives[usable] / positives[usable]
    return of_negatives, relative
