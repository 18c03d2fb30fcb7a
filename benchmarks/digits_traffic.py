"""Traffic and reference made from scikit-learn's digits, for the tests and benchmarks of drift detection.

A logistic regression on 16 principal components plays the bundle; 597 images train it and are used for nothing else. Reference and
window are drawn from the other 1,200 without replacement, so on unchanged traffic they are interchangeable.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from monitoring.reference import Reference
from monitoring.window import Window
from pipelines.core.signals import IMAGE_STATISTICS, image_statistics

BUNDLE = "d1617500d1617500"
N_TRAINING = 597
N_COMPONENTS = 16
LABELS = tuple(str(digit) for digit in range(10))
Pixels = NDArray[np.float64]
Change = Callable[[Pixels, np.random.Generator], Pixels]


@dataclass(frozen=True, eq=False)
class Answers:
    """What the classifier says of b images: embeddings [b, 16], probabilities [b, 10], statistics [b, 6], true labels [b]."""

    embeddings: NDArray[np.float64]
    probabilities: NDArray[np.float64]
    statistics: NDArray[np.float64]
    true_indices: NDArray[np.int64]

    def rows(self, places: NDArray[np.int64]) -> Answers:
        return Answers(self.embeddings[places], self.probabilities[places], self.statistics[places], self.true_indices[places])


class DigitsTraffic:
    """A trained classifier and images that it has not seen."""

    def __init__(self) -> None:
        from sklearn.datasets import load_digits
        from sklearn.decomposition import PCA
        from sklearn.linear_model import LogisticRegression

        pixels, labels = load_digits(return_X_y=True)
        order = np.random.default_rng(0).permutation(len(pixels))
        training, rest = order[:N_TRAINING], order[N_TRAINING:]
        self._components = PCA(N_COMPONENTS, random_state=0).fit(pixels[training])
        self._classifier = LogisticRegression(max_iter=5_000).fit(self._components.transform(pixels[training]), labels[training])
        self._pixels, self._labels = pixels[rest], labels[rest].astype(np.int64)
        self._unchanged = self.answer(self._pixels, self._labels)

    def answer(self, pixels: Pixels, labels: NDArray[np.int64]) -> Answers:
        """Answers for images [b, 64] with values 0 to 16."""
        embeddings = self._components.transform(pixels)
        statistics = np.stack([image_statistics(_as_image(row)) for row in pixels]).astype(np.float64)
        return Answers(embeddings, self._classifier.predict_proba(embeddings), statistics, labels)

    def draw(
        self, seed: int, n_window: int, n_reference: int = 500, change: Change | None = None, label_noise_frac: float = 0.0
    ) -> tuple[Window, Reference]:
        """A window and a reference.

        Args:
            seed: Of the draw.
            n_window: Requests.
            n_reference: Samples.
            change: Of the window's images.
            label_noise_frac: Share of the window's labels that are fed back as another.
        """
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(self._labels))
        places = order[n_reference : n_reference + n_window]
        answers = self._unchanged.rows(places) if change is None else self.answer(change(self._pixels[places], rng), self._labels[places])
        moved = np.where(rng.random(n_window) < label_noise_frac, 1, 0)
        return as_window(answers, (answers.true_indices + moved) % 10), as_reference(self._unchanged.rows(order[:n_reference]))


def as_window(answers: Answers, fed_back: NDArray[np.int64] | None = None, domain: str = "digits") -> Window:
    n_requests = len(answers.true_indices)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    true_labels = (None,) * n_requests if fed_back is None else tuple(LABELS[index] for index in fed_back)
    return Window(
        bundle=BUNDLE,
        labels=LABELS,
        request_ids=tuple(f"r{number:05d}" for number in range(n_requests)),
        times=tuple(start + timedelta(seconds=number) for number in range(n_requests)),
        embeddings=answers.embeddings,
        probabilities=answers.probabilities,
        statistics=answers.statistics,
        predicted_indices=answers.probabilities.argmax(axis=1).astype(np.int64),
        domains=(domain,) * n_requests,
        true_labels=true_labels,
    )


def as_reference(answers: Answers) -> Reference:
    # As in a bundle: probabilities and statistics pass through float32.
    return Reference(
        bundle=BUNDLE,
        labels=LABELS,
        embeddings=answers.embeddings,
        probabilities=answers.probabilities.astype(np.float32).astype(np.float64),
        statistics=answers.statistics,
        correct=answers.probabilities.argmax(axis=1) == answers.true_indices,
        true_indices=answers.true_indices,
        domains=frozenset({"digits"}),
        named_statistics=IMAGE_STATISTICS,
    )


def as_lines(window: Window) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The window as lines of the request log and of the feedback log."""
    requests = [
        {
            "request_id": window.request_ids[place],
            "time": window.times[place].isoformat(),
            "bundle": window.bundle,
            "label": window.labels[window.predicted_indices[place]],
            "probabilities": [float(f"{value:.6g}") for value in window.probabilities[place].tolist()],
            "embedding": [float(f"{value:.5g}") for value in window.embeddings[place].tolist()],
            "statistics": [float(f"{value:.5g}") for value in window.statistics[place].tolist()],
            "domain": window.domains[place],
            "raw_sha256": None,
        }
        for place in range(window.n_requests)
    ]
    labelled = zip(window.request_ids, window.true_labels, window.times, strict=True)
    feedback = [{"request_id": name, "label": label, "time": time.isoformat()} for name, label, time in labelled if label is not None]
    return requests, feedback


def inverted(pixels: Pixels, _rng: np.random.Generator) -> Pixels:
    """Ink and paper change places."""
    return 16 - pixels


def noisy(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Gaussian noise of a quarter of the range."""
    return np.clip(pixels + rng.normal(0, 4, pixels.shape), 0, 16)


def shifted_right(pixels: Pixels, _rng: np.random.Generator) -> Pixels:
    """One pixel to the right: no statistic of the whole image sees it, the embedding does."""
    return np.roll(pixels.reshape(-1, 8, 8), 1, axis=2).reshape(-1, 64)


def _as_image(pixels: NDArray[np.float64]) -> Image.Image:
    return Image.fromarray(np.round(pixels.reshape(8, 8) * 255 / 16).astype(np.uint8))
