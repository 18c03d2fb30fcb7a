"""Real traffic for the benchmarks of drift detection: handwritten digits of two sources through the shipped backbone. Needs ../shared.

MNIST digits play the endpoint's own domain, USPS digits (other writers, another scanner, 16 x 16 pixels) another one. A logistic
regression on the backbone's features learns from 2,000 MNIST digits; its temperature is fitted on 1,000 others; the other 5,000 are
reference and traffic. Embeddings are the features through the same random projection as in a bundle.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter, ImageOps

from monitoring.reference import Reference
from monitoring.window import Window
from pipelines.core.heads import softmax
from pipelines.core.signals import IMAGE_STATISTICS, image_statistics, random_projection

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
BACKBONE, SHIPPED = "omniglot_resnet", Path(__file__).resolve().parents[1] / "backbones"
BUNDLE = "d1617500d1617501"
LABELS = tuple(str(digit) for digit in range(10))
N_TRAINING, N_CALIBRATION = 2_000, 1_000
N_COMPACT = 32
_BATCH = 256

Change = Callable[[bytes, np.random.Generator], bytes]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Answers:
    """b samples: embeddings [b, e], probabilities [b, 10], statistics [b, 6], true labels [b]."""

    embeddings: NDArray[np.float64]
    probabilities: NDArray[np.float64]
    statistics: NDArray[np.float64]
    true: Ints

    def rows(self, places: Ints) -> Answers:
        return Answers(self.embeddings[places], self.probabilities[places], self.statistics[places], self.true[places])

    @property
    def accuracy(self) -> float:
        return float((self.probabilities.argmax(axis=1) == self.true).mean())

    @staticmethod
    def joined(first: Answers, second: Answers) -> Answers:
        names = ("embeddings", "probabilities", "statistics", "true")
        return Answers(*(np.concatenate([getattr(first, name), getattr(second, name)]) for name in names))


class RealDigits:
    """A trained classifier, its own domain, and what changes it."""

    def __init__(self) -> None:
        import torch
        from sklearn.linear_model import LogisticRegression

        from pipelines.backbone_cards import load_shipped
        from pipelines.core.backbones import build_backbone

        torch.set_num_threads(2)
        card, weights = load_shipped(BACKBONE, SHIPPED)
        self._spec, self._backbone = card.preprocess, build_backbone(card.spec).eval()
        self._backbone.load_state_dict(weights)
        images, labels = _read("mnist_6k", ("train", "test"))
        order = np.random.default_rng(0).permutation(len(images))
        self._pngs, self._labels = [_png(images[place]) for place in order], labels[order]
        training, calibration = np.arange(N_TRAINING), np.arange(N_TRAINING, N_TRAINING + N_CALIBRATION)
        features = self._features([self._pngs[place] for place in training])
        self._mean, self._spread = features.mean(axis=0), features.std(axis=0) + 1e-6
        self._classifier = LogisticRegression(C=0.01, max_iter=2_000).fit(self._standard(features), self._labels[training])
        self._projection = random_projection(features.shape[1], N_COMPACT, 0).astype(np.float64)
        self._temperature = self._fit_temperature(calibration)
        self.places = np.arange(N_TRAINING + N_CALIBRATION, len(order))
        self.own = self.answer([self._pngs[place] for place in self.places], self._labels[self.places])

    def changed(self, change: Change, places: Ints, seed: int = 0) -> Answers:
        """The digits at these places of the own domain, changed."""
        rng = np.random.default_rng(seed)
        chosen = self.places[places]
        return self.answer([change(self._pngs[place], rng) for place in chosen], self._labels[chosen])

    def other_domain(self) -> Answers:
        images, labels = _read("usps", ("test",))
        return self.answer([_png(image) for image in images], labels)

    def answer(self, pngs: list[bytes], labels: Ints) -> Answers:
        features = self._features(pngs)
        statistics = np.stack([image_statistics(Image.open(io.BytesIO(png))) for png in pngs]).astype(np.float64)
        probabilities = softmax(self._classifier.decision_function(self._standard(features)), self._temperature)
        return Answers(features @ self._projection, probabilities, statistics, labels)

    def _fit_temperature(self, places: Ints) -> float:
        from scipy.optimize import minimize_scalar

        logits = self._classifier.decision_function(self._standard(self._features([self._pngs[place] for place in places])))
        labels = self._labels[places]

        def loss(log_temperature: float) -> float:
            chances = softmax(logits, float(np.exp(log_temperature)))[np.arange(len(labels)), labels]
            return float(-np.log(np.maximum(chances, 1e-12)).mean())

        return float(np.exp(minimize_scalar(loss, bounds=(-3, 3), method="bounded").x))

    def _standard(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray((features - self._mean) / self._spread)

    def _features(self, pngs: list[bytes]) -> NDArray[np.float64]:
        import torch

        from pipelines.core.preprocess import preprocess

        with torch.inference_mode():
            batches = [
                self._backbone(torch.from_numpy(preprocess(pngs[start : start + _BATCH], self._spec))).numpy()
                for start in range(0, len(pngs), _BATCH)
            ]
        return np.concatenate(batches).astype(np.float64)


def changes() -> Mapping[str, Change]:
    """Corruptions of the gate `robustness` at severities 1, 3 and 5, and changes that another device makes."""
    from pipelines.backbone_cards import load_shipped
    from pipelines.corruptions import CORRUPTIONS
    from pipelines.domain_shift import shift_scanner

    spec = load_shipped(BACKBONE, SHIPPED)[0].preprocess
    found: dict[str, Change] = {
        f"{name}_{severity}": (lambda png, rng, c=corruption, s=severity: c(png, spec, s, rng))  # type: ignore[misc]
        for name, corruption in CORRUPTIONS["image"].items()
        for severity in (1, 3, 5)
    }
    return found | {
        "inverted": lambda png, rng: _drawn(png, ImageOps.invert),
        "thicker": lambda png, rng: _drawn(png, lambda image: image.filter(ImageFilter.MaxFilter(3))),
        "thinner": lambda png, rng: _drawn(png, lambda image: image.filter(ImageFilter.MinFilter(3))),
        "half_contrast": lambda png, rng: _drawn(png, lambda image: image.point(lambda value: value // 2)),
        "turned_15": lambda png, rng: _drawn(png, lambda image: image.rotate(15, Image.Resampling.BICUBIC)),
        "turned_30": lambda png, rng: _drawn(png, lambda image: image.rotate(30, Image.Resampling.BICUBIC)),
        "turned_60": lambda png, rng: _drawn(png, lambda image: image.rotate(60, Image.Resampling.BICUBIC)),
        "moved_4_px": lambda png, rng: _drawn(png, lambda image: image.transform((28, 28), Image.Transform.AFFINE, (1, 0, -4, 0, 1, 0))),
        "new_scanner": lambda png, rng: shift_scanner(png, int(rng.integers(2**31))),
    }


def jittered(png: bytes, rng: np.random.Generator) -> bytes:
    """The next frame of the same thing: turned by at most 3 degrees, and a little noise."""

    def jitter(image: Image.Image) -> Image.Image:
        turned = np.asarray(image.rotate(float(rng.uniform(-3, 3)), Image.Resampling.BICUBIC), dtype=np.float64)
        return Image.fromarray(np.clip(turned + rng.normal(0, 3, turned.shape), 0, 255).astype(np.uint8))

    return _drawn(png, jitter)


def as_window(answers: Answers, labelled: bool = False) -> Window:
    n_requests = len(answers.true)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    return Window(
        bundle=BUNDLE,
        labels=LABELS,
        request_ids=tuple(f"r{number:06d}" for number in range(n_requests)),
        times=tuple(start + timedelta(seconds=number) for number in range(n_requests)),
        embeddings=answers.embeddings,
        probabilities=answers.probabilities,
        statistics=answers.statistics,
        predicted_indices=answers.probabilities.argmax(axis=1).astype(np.int64),
        domains=("",) * n_requests,
        true_labels=tuple(LABELS[label] for label in answers.true) if labelled else (None,) * n_requests,
    )


def as_reference(answers: Answers) -> Reference:
    return Reference(
        bundle=BUNDLE,
        labels=LABELS,
        embeddings=answers.embeddings,
        probabilities=answers.probabilities.astype(np.float32).astype(np.float64),
        statistics=answers.statistics,
        correct=answers.probabilities.argmax(axis=1) == answers.true,
        true_indices=answers.true,
        named_statistics=IMAGE_STATISTICS,
    )


def _read(name: str, parts: tuple[str, ...]) -> tuple[NDArray[np.uint8], Ints]:
    with np.load(DATA / f"{name}.npz") as arrays:
        images = np.concatenate([arrays[f"{part}_images"] for part in parts])
        return images, np.concatenate([arrays[f"{part}_labels"] for part in parts]).astype(np.int64)


def _png(image: NDArray[np.uint8]) -> bytes:
    return _encoded(Image.fromarray(image))


def _drawn(png: bytes, change: Callable[[Image.Image], Image.Image]) -> bytes:
    return _encoded(change(Image.open(io.BytesIO(png))))


def _encoded(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
