"""The drift reference that a bundle carries: its answers for test samples, made through the same `Predictor` as the endpoint's."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.core.bundle import BundleManifest, read_manifest
from pipelines.core.errors import IntegrityError
from pipelines.core.heads import confidence, decide
from pipelines.core.label_sets import set_texts
from pipelines.core.modalities.adapters import modality_of

REFERENCE_FILE = "reference.safetensors"
_ARRAYS = ("embeddings", "probabilities", "statistics", "correct", "labels")


@dataclass(frozen=True, eq=False)
class Reference:
    """What unchanged traffic looks like to one bundle.

    Letters for shapes: n reference samples, e compact embedding, k labels, s input statistics.

    Attributes:
        bundle: Id of the bundle.
        labels: The bundle's labels, in the order of the probabilities.
        embeddings: float64 [n, e].
        probabilities: float64 [n, k], calibrated.
        statistics: float64 [n, s], in the order of `named_statistics`.
        correct: bool [n], whether the bundle's answer was right, the whole set where a sample has any number of labels.
        true_indices: int64 [n], the true label's place in `labels`; [n, k] of 0 and 1 where a sample has any number of labels.
        domains: The domains of the samples that trained the bundle; None where the bundle does not say.
        thresholds: [k], where a sample has any number of labels.
        named_statistics: Names of the input statistics, by the modality.
    """

    bundle: str
    labels: tuple[str, ...]
    embeddings: NDArray[np.float64]
    probabilities: NDArray[np.float64]
    statistics: NDArray[np.float64]
    correct: NDArray[np.bool_]
    true_indices: NDArray[np.int64]
    domains: frozenset[str] | None = None
    thresholds: tuple[float, ...] | None = None
    named_statistics: tuple[str, ...] = ()

    @property
    def statistic_names(self) -> tuple[str, ...]:
        """s, one for each column; those without a name have their place's."""
        n_statistics, named = self.statistics.shape[1], self.named_statistics
        return tuple(named[index] if index < len(named) else f"statistic_{index}" for index in range(n_statistics))

    @property
    def n_samples(self) -> int:
        """Samples."""
        return len(self.correct)

    @property
    def confidences(self) -> NDArray[np.float64]:
        """float64 [n], the probability that each answer is right."""
        return confidence(self.probabilities, self.thresholds)

    @property
    def predicted_indices(self) -> NDArray[np.int64]:
        """int64 [n], the most probable label's place in `labels`."""
        return np.asarray(self.probabilities.argmax(axis=1), dtype=np.int64)

    @property
    def predicted(self) -> NDArray[np.bool_]:
        """[n, k], whether the answer names the label."""
        return decide(self.probabilities, self.thresholds)

    @property
    def answers(self) -> tuple[str, ...]:
        """n, the answered labels, or the texts of the answered sets."""
        return set_texts(self.predicted, self.labels)

    @classmethod
    def load(cls, bundle: Path) -> Reference:
        """Reads the reference of a bundle; its bytes must have the sha256 that the manifest records.

        Args:
            bundle: The bundle's directory.

        Raises:
            IntegrityError: The reference is missing, changed, or its arrays do not fit each other or the labels.
        """
        from safetensors.numpy import load

        manifest, identity = read_manifest(bundle)
        arrays = load(_verified_bytes(bundle, manifest))
        _refuse_wrong_shapes(bundle, arrays, manifest)
        return cls(
            bundle=identity,
            labels=manifest.labels,
            embeddings=arrays["embeddings"].astype(np.float64),
            probabilities=arrays["probabilities"].astype(np.float64),
            statistics=arrays["statistics"].astype(np.float64),
            correct=arrays["correct"].astype(np.bool_),
            true_indices=arrays["labels"].astype(np.int64),
            domains=_known_domains(bundle),
            thresholds=manifest.thresholds,
            named_statistics=modality_of(manifest.preprocess, bundle).statistics,
        )


def _verified_bytes(bundle: Path, manifest: BundleManifest) -> bytes:
    path = bundle / REFERENCE_FILE
    data = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(data).hexdigest() != manifest.files.get(REFERENCE_FILE):
        raise _broken(bundle, "is missing" if not path.is_file() else "has other bytes than the manifest records")
    return data


def _refuse_wrong_shapes(bundle: Path, arrays: dict[str, NDArray[np.generic]], manifest: BundleManifest) -> None:
    absent = [name for name in _ARRAYS if name not in arrays]
    if absent:
        raise _broken(bundle, f"has no {', '.join(absent)}")
    shapes = {name: arrays[name].shape for name in _ARRAYS}
    n_samples = shapes["correct"][0] if shapes["correct"] else 0
    one_label = manifest.labels_per_sample == "one"
    dimensions = {"embeddings": 2, "probabilities": 2, "statistics": 2, "correct": 1, "labels": 1 if one_label else 2}
    if n_samples == 0 or any(len(shape) != dimensions[name] or shape[0] != n_samples for name, shape in shapes.items()):
        raise _broken(bundle, f"has arrays that do not belong together: {shapes}")
    n_labels = len(manifest.labels)
    if shapes["probabilities"][1] != n_labels:
        raise _broken(bundle, f"has {shapes['probabilities'][1]} probabilities a sample for {n_labels} labels")
    if not one_label and shapes["labels"][1] != n_labels:
        raise _broken(bundle, f"has {shapes['labels'][1]} true labels a sample for {n_labels} labels")


def _broken(bundle: Path, problem: str) -> IntegrityError:
    return IntegrityError(
        got=f"bundle {bundle.name} whose {REFERENCE_FILE} {problem}.",
        allowed="the drift reference that was sealed with the bundle.",
        next_step="restore the bundle with `dvc checkout`, or package it again with `regraft retrain`.",
    )


def _known_domains(bundle: Path) -> frozenset[str] | None:
    path = bundle / "lineage.json"
    content = json.loads(path.read_bytes()) if path.is_file() else {}
    domains = content.get("train_domains") if isinstance(content, dict) else None
    return frozenset(str(domain) for domain in domains) if domains else None
