"""Few-shot accuracy on characters that were never trained on: how well the frozen features tell new classes apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from pipelines.backbone_cards import HeldOutAccuracy
from pipelines.core.errors import DataError
from pipelines.pretraining.omniglot import Characters
from pipelines.pretraining.recipe import PretrainRecipe

if TYPE_CHECKING:
    from torch import Tensor, nn

View = Literal["full", "coarse"]
COARSE_PX = 12
N_EPISODES = 400
N_QUERIES_PER_CLASS = 5


def held_out_features(backbone: nn.Module, characters: Characters, recipe: PretrainRecipe, view: View) -> Tensor:
    """Normalised features [n, d] of drawings at the input's size, as they are or seen through `COARSE_PX` pixels."""
    import torch
    from torch.nn import functional

    images = characters.images
    if view == "coarse":
        small = functional.interpolate(images, size=(COARSE_PX, COARSE_PX), mode="area")
        images = functional.interpolate(small, size=images.shape[-2:], mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
    backbone.eval()
    with torch.inference_mode():
        parts = [backbone((part - recipe.mean) / recipe.std) for part in torch.split(images, 256)]
    return functional.normalize(torch.cat(parts))


def few_shot_accuracy(features: Tensor, characters: Characters, alphabet: str, view: View, shots: int, seed: int) -> HeldOutAccuracy:
    """Nearest centroid by cosine, over episodes that each draw `shots` examples and 5 queries of every class of the alphabet.

    Args:
        features: [n, d] from `held_out_features`.
        characters: The drawings that they belong to, of one alphabet.
        alphabet: Noted in the result.
        view: Noted in the result.
        shots: Labelled examples per class.
        seed: Of the draw.

    Raises:
        DataError: A class has too few drawings.
    """
    random = np.random.default_rng(seed)
    values, labels = features.numpy().astype(np.float64), characters.labels.numpy()
    members = [np.flatnonzero(labels == index) for index in range(len(characters.names))]
    _refuse_few(members, characters, shots)
    accuracies = []
    for _ in range(N_EPISODES):
        drawn = np.stack([random.permutation(rows)[: shots + N_QUERIES_PER_CLASS] for rows in members])
        centroids = values[drawn[:, :shots]].mean(axis=1)
        centroids /= np.linalg.norm(centroids, axis=1, keepdims=True)
        predicted = (values[drawn[:, shots:]] @ centroids.T).argmax(axis=2)
        accuracies.append(float((predicted == np.arange(len(members))[:, None]).mean()))
    low, high = np.quantile(accuracies, [0.05, 0.95])
    return HeldOutAccuracy(
        alphabet=alphabet,
        view=view,
        ways=len(members),
        shots=shots,
        n_episodes=N_EPISODES,
        n_queries=len(members) * N_QUERIES_PER_CLASS,
        mean=round(float(np.mean(accuracies)), 4),
        p05=round(float(low), 4),
        p95=round(float(high), 4),
    )


def _refuse_few(members: list[NDArray[np.int64]], characters: Characters, shots: int) -> None:
    few = [name for name, rows in zip(characters.names, members, strict=True) if len(rows) < shots + N_QUERIES_PER_CLASS]
    if few:
        raise DataError(
            got=f"fewer than {shots + N_QUERIES_PER_CLASS} drawings of {', '.join(few)}.",
            allowed=f"{shots} examples and {N_QUERIES_PER_CLASS} queries of every held-out character.",
            next_step="give all of the data, or hold out other alphabets.",
        )
