"""From raw bytes to calibrated probabilities: what gates, goldens, the drift reference and the endpoint all call.

Letters for shapes: b samples, k labels, d features, e compact embedding, s input statistics.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from pipelines.core.backbones import build_backbone
from pipelines.core.bundle import BundleManifest, Golden, read_manifest, verify_files
from pipelines.core.errors import IntegrityError
from pipelines.core.heads import build_head, confidence, decide, label_probabilities
from pipelines.core.label_sets import set_texts
from pipelines.core.modalities.adapters import modality_of
from pipelines.core.modalities.modality import Modality

if TYPE_CHECKING:
    import torch
    from torch import nn

_BATCH_SIZE = 64
# The input statistic of modalities that cut long inputs.
TRUNCATED = "truncated_frac"


@dataclass(frozen=True)
class Predictions:
    """Answers of one bundle for b samples.

    Attributes:
        bundle: Id of the bundle that gave them.
        labels: The most probable label of each sample; where a sample has any number of labels, the text of its set.
        probabilities: float64 [b, k], calibrated, in the order of the bundle's labels.
        embeddings: float32 [b, e], the projected features.
        statistics: float32 [b, s], in the order of the modality's `statistics`.
        thresholds: Of the labels, where a sample has any number of them.
    """

    bundle: str
    labels: tuple[str, ...]
    probabilities: NDArray[np.float64]
    embeddings: NDArray[np.float32]
    statistics: NDArray[np.float32]
    thresholds: tuple[float, ...] | None = None

    @property
    def confidences(self) -> NDArray[np.float64]:
        """float64 [b], the probability that each answer is right."""
        return confidence(self.probabilities, self.thresholds)


class Predictor:
    """A loaded bundle. Safe to call from several threads: nothing in it changes after loading."""

    def __init__(
        self, manifest: BundleManifest, bundle: str, tensors: dict[str, torch.Tensor], projection: NDArray[np.float32], modality: Modality
    ) -> None:
        self.manifest = manifest
        self.bundle = bundle
        self.modality = modality
        self._projection = projection
        self._backbone, self._head = _build_networks(manifest, tensors)

    @classmethod
    def load(cls, path: Path, *, verify: bool = True) -> Predictor:
        """Loads a bundle, offline and without code of the training side.

        Args:
            path: The bundle's directory.
            verify: Check every file's hash and replay the goldens. Off only while a bundle is being made.

        Raises:
            IntegrityError: A hash, a tensor's shape or a golden does not match.
        """
        import safetensors.numpy
        import safetensors.torch

        manifest, identity = read_manifest(path)
        if verify:
            verify_files(path, manifest)
        tensors = safetensors.torch.load_file(path / "weights.safetensors")
        projection = safetensors.numpy.load_file(path / "projection.safetensors")["projection"]
        predictor = cls(manifest, identity, tensors, projection, modality_of(manifest.preprocess, path))
        if verify:
            check_goldens(predictor, path)
        return predictor

    @property
    def network(self) -> tuple[nn.Module, nn.Module]:
        """Backbone and head, frozen and in evaluation mode: to look into, not to change."""
        return self._backbone, self._head

    def predict(self, samples: Sequence[bytes]) -> Predictions:
        """Predicts from raw sample files.

        Raises:
            DataError: A sample does not decode.
        """
        parts = [self._predict_batch(samples[start : start + _BATCH_SIZE]) for start in range(0, len(samples), _BATCH_SIZE)]
        logits = np.concatenate([logits for logits, _, _ in parts])
        probabilities = label_probabilities(logits, self.manifest.temperature, self.manifest.labels_per_sample)
        return Predictions(
            bundle=self.bundle,
            labels=set_texts(decide(probabilities, self.manifest.thresholds), self.manifest.labels),
            probabilities=probabilities,
            embeddings=np.concatenate([features for _, features, _ in parts]) @ self._projection,
            statistics=np.concatenate([statistics for _, _, statistics in parts]),
            thresholds=self.manifest.thresholds,
        )

    def unread_fracs(self, answers: Predictions) -> NDArray[np.float32] | None:
        """float32 [b], of each input the share that was longer than the backbone reads; nothing where its kind is never cut off."""
        names = self.modality.statistics
        return answers.statistics[:, names.index(TRUNCATED)] if TRUNCATED in names else None

    def _predict_batch(self, samples: Sequence[bytes]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        # One decoded input at a time in memory: 64 small files may hold 50 million pixels each.
        arrays, statistics = zip(*(self._read(data) for data in samples), strict=True)
        buckets = np.array([self.modality.bucket(array) for array in arrays])
        groups = [np.flatnonzero(buckets == bucket) for bucket in np.unique(buckets)]
        answered = [self._forward(self.modality.batch([arrays[place] for place in places])) for places in groups]
        order = np.argsort(np.concatenate(groups))
        logits, features = (np.concatenate(parts)[order] for parts in zip(*answered, strict=True))
        return logits, features, np.stack(statistics)

    def _forward(self, batch: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        import torch

        with torch.inference_mode():
            features = self._backbone(torch.from_numpy(batch))
            return self._head(features).numpy(), features.numpy()

    def _read(self, data: bytes) -> tuple[NDArray[Any], NDArray[np.float32]]:
        decoded = self.modality.decode(data)
        return self.modality.to_array(decoded), self.modality.input_statistics(decoded)


def _build_networks(manifest: BundleManifest, tensors: dict[str, torch.Tensor]) -> tuple[nn.Module, nn.Module]:
    from pipelines.core.folding import fold_batch_norms

    backbone = build_backbone(manifest.backbone)
    head = build_head(tensors["head.weight"].shape[1], len(manifest.labels))
    for prefix, module in (("backbone.", backbone), ("head.", head)):
        state = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
        try:
            module.load_state_dict(state, strict=True)
        except RuntimeError as error:
            raise IntegrityError(
                got=f"weights that do not fit {manifest.backbone.name}: {error}.",
                allowed="the tensors of exactly this architecture.",
                next_step="package the model again with `regraft retrain`.",
            ) from error
        module.eval().requires_grad_(False)
    return fold_batch_norms(backbone, manifest.preprocess.input_shape), head


def read_goldens(path: Path) -> list[tuple[Golden, bytes]]:
    """The goldens of a bundle, each with its raw sample."""
    goldens = TypeAdapter(list[Golden]).validate_json((path / "goldens.json").read_bytes())
    return [(golden, (path / "goldens" / golden.file).read_bytes()) for golden in goldens]


def check_goldens(predictor: Predictor, path: Path) -> None:
    """Replays a bundle's goldens.

    Raises:
        IntegrityError: A label or a probability differs by more than the manifest's tolerance; names the worst.
    """
    goldens = read_goldens(path)
    answers = predictor.predict([data for _, data in goldens])
    expected = np.array([golden.probabilities for golden, _ in goldens])
    differences = np.abs(answers.probabilities - expected).max(axis=1)
    worst = int(differences.argmax())
    wrong_labels = [golden.file for (golden, _), label in zip(goldens, answers.labels, strict=True) if golden.label != label]
    if wrong_labels or differences[worst] > predictor.manifest.golden_tolerance:
        raise IntegrityError(
            got=f"bundle {predictor.bundle} that answers its golden {goldens[worst][0].file} differently by {differences[worst]:.2g}"
            f" ({len(wrong_labels)} of {len(goldens)} labels differ).",
            allowed=f"the stored labels, and probabilities within {predictor.manifest.golden_tolerance:g}.",
            next_step="compare the library versions in lineage.json with those installed; train again on this stack if they must differ.",
        )
