"""Which of the inputs that wait teach the most when they are labelled: the uncertain ones, and no two that teach the same.

Letters for shapes: n inputs, c labels, e embedding dimensions.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipelines.core.label_sets import LabelsPerSample


def uncertainty(probabilities: Sequence[float], labels_per_sample: LabelsPerSample) -> float:
    """How near the answer is to another one, in [0, 1].

    With one label a sample 1 - the margin between the two most likely labels (Scheffer, Decomain and Wrobel 2001,
    https://doi.org/10.1007/3-540-44816-0_31). With any number of labels each label is a question of its own, and the least certain
    one counts (binary minimum, Brinker 2006, https://doi.org/10.1007/3-540-31314-1_24).

    Args:
        probabilities: c of them, calibrated.
        labels_per_sample: Of the project.
    """
    if labels_per_sample == "many":
        return 1 - min((abs(2 * value - 1) for value in probabilities), default=1.0)
    first, second = heapq.nlargest(2, probabilities)
    return 1 - (first - second)


def choose(
    probabilities: NDArray[np.float32],
    embeddings: NDArray[np.float32],
    n_chosen: int,
    labels_per_sample: LabelsPerSample,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Picks inputs that are uncertain and different: BADGE (Ash et al. 2020, https://arxiv.org/abs/1906.03671) on compact embeddings.

    Each input stands for the gradient that it would send into a linear head if the model were right: (probabilities - the answer as 0
    and 1) times the embedding. It is long where the model is uncertain, and its direction says what would be learnt. k-means++ seeding
    (Arthur and Vassilvitskii 2007) then draws one after the other, each with a probability that is its squared distance to the nearest
    one drawn. Where we differ: the embeddings are those of the log, a random projection of the backbone's features, centred, with a
    constant for the bias. The gradients, c times e numbers each, are never made: of a product the distance follows from its factors.

    Time n * n_chosen * (c + e), memory n * (c + e).

    Args:
        probabilities: float32 [n, c].
        embeddings: float32 [n, e].
        n_chosen: Of them; all where there are fewer.
        labels_per_sample: Of the project.
        rng: Where several would do, it decides.

    Returns:
        Places [at most n_chosen], in the order in which they were picked: the first k of them are a choice of k.
    """
    n_chosen = min(n_chosen, len(probabilities))
    if n_chosen == 0:
        return np.empty(0, dtype=np.int64)
    errors = _errors(probabilities, labels_per_sample)
    directions = _directions(embeddings)
    lengths = (errors**2).sum(axis=1) * (directions**2).sum(axis=1)
    chosen = [int(lengths.argmax())]
    nearest = np.full(len(lengths), np.inf)
    for _ in range(n_chosen - 1):
        last = chosen[-1]
        products = (errors @ errors[last]) * (directions @ directions[last])
        nearest = np.minimum(nearest, np.maximum(lengths + lengths[last] - 2 * products, 0))
        nearest[chosen] = 0
        chosen.append(_drawn(nearest, chosen, rng))
    return np.asarray(chosen, dtype=np.int64)


def _errors(probabilities: NDArray[np.float32], labels_per_sample: LabelsPerSample) -> NDArray[np.float64]:
    values = probabilities.astype(np.float64)
    if labels_per_sample == "many":
        return np.asarray(values - (values >= 0.5))
    values[np.arange(len(values)), values.argmax(axis=1)] -= 1
    return values


def _directions(embeddings: NDArray[np.float32]) -> NDArray[np.float64]:
    """Float64 [n, e + 1]: centred, of a mean square of 1 a dimension, and a constant for the bias."""
    centred = embeddings.astype(np.float64) - embeddings.mean(axis=0, dtype=np.float64)
    scale = np.sqrt((centred**2).mean()) or 1.0
    return np.concatenate([centred / scale, np.ones((len(centred), 1))], axis=1)


def _drawn(weights: NDArray[np.float64], chosen: Sequence[int], rng: np.random.Generator) -> int:
    total = weights.cumsum()
    if total[-1] <= 0:  # what is left is equal to what was chosen
        return int(np.setdiff1d(np.arange(len(weights)), chosen)[0])
    return int(min(np.searchsorted(total, rng.random() * total[-1], side="right"), len(weights) - 1))
