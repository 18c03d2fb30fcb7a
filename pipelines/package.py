"""Stage `package`: makes the sealed bundle from what training and calibration wrote.

The reference and the goldens are computed by the bundle's own `Predictor`, from the raw bytes of test samples.
"""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from pipelines.calibrate import read_calibration
from pipelines.config import LEARNING_SECTIONS, MACHINE_PATHS, ProjectConfig
from pipelines.core.bundle import BundleManifest, Golden, canonical_json, seal
from pipelines.core.label_sets import members_of
from pipelines.core.predict import Predictions, Predictor
from pipelines.core.signals import random_projection
from pipelines.dataset import Sample, read_sample, read_samples
from pipelines.selected_backbone import SelectedBackbone, copy_preprocess_files, read_selected

_LIBRARIES = ("torch", "torchvision", "timm", "numpy", "pillow", "scikit-learn", "scipy", "safetensors")
# Those that a task's answers depend on besides.
_LIBRARIES_OF: Mapping[str, tuple[str, ...]] = {"text": ("transformers", "tokenizers"), "audio": ("soundfile", "soxr")}
# A golden near the decision boundary would turn red from rounding alone.
_MIN_GOLDEN_MARGIN = 0.2
# The same margin where a label is decided by itself: of 0.6 against a threshold of 0.5, in log odds.
_MIN_GOLDEN_LOG_ODDS = 0.4


@dataclass(frozen=True)
class PackageInputs:
    """What the bundle is made from.

    Attributes:
        trained, calibrated: Outputs of these stages.
        selected: `backbone.json`.
        samples: `samples.csv` with splits.
        data: The folder that sample paths are relative to.
        lineage: Digests and seeds, to be stored as `lineage.json`; no time, no path.
    """

    trained: Path
    calibrated: Path
    selected: Path
    samples: Path
    data: Path
    lineage: dict[str, JsonValue]


def package(inputs: PackageInputs, config: ProjectConfig, out: Path) -> None:
    """Writes a sealed bundle into `out/bundle`; the same inputs give the same bundle id.

    Raises:
        IntegrityError: A sample's file changed since it was listed.
    """
    bundle = out / "bundle"
    bundle.mkdir()
    selected = read_selected(inputs.selected)
    manifest = _write_model(bundle, inputs, config, selected)
    test = _chosen(read_samples(inputs.samples, "test"), config.bundle.max_reference_samples)
    raw = [read_sample(inputs.data, sample) for sample in test]
    answers = Predictor.load(bundle, verify=False).predict(raw)
    _write_reference(bundle, test, answers, config)
    _write_goldens(bundle, raw, answers, config.bundle.n_goldens, manifest)
    _write_documents(bundle, inputs, config, selected)
    seal(bundle, manifest)


def _write_model(bundle: Path, inputs: PackageInputs, config: ProjectConfig, selected: SelectedBackbone) -> BundleManifest:
    import safetensors.numpy

    weights = (inputs.trained / "weights.safetensors").read_bytes()
    (bundle / "weights.safetensors").write_bytes(weights)
    copy_preprocess_files(selected, bundle)
    n_features = safetensors.numpy.load(weights)["head.weight"].shape[1]
    projection = random_projection(n_features, min(n_features, config.bundle.n_compact_embedding), config.seed)
    safetensors.numpy.save_file({"projection": projection}, bundle / "projection.safetensors")
    calibration = read_calibration(inputs.calibrated)
    manifest = BundleManifest(
        project=config.project,
        task=config.task,
        labels=config.labels,
        labels_per_sample=config.labels_per_sample,
        thresholds=calibration.thresholds,
        backbone=selected.spec,
        preprocess=selected.preprocess,
        temperature=calibration.temperature,
        files={},
    )
    seal(bundle, manifest)  # provisional: lets the Predictor load it to compute the rest
    return manifest


def _chosen(samples: Sequence[Sample], n_most: int) -> list[Sample]:
    # By id, which is a hash: a fixed random choice that does not depend on the table's order.
    return sorted(samples, key=lambda sample: sample.id)[:n_most]


def _write_reference(bundle: Path, test: Sequence[Sample], answers: Predictions, config: ProjectConfig) -> None:
    import safetensors.numpy

    correct = [sample.label == label for sample, label in zip(test, answers.labels, strict=True)]
    tensors: dict[str, NDArray[np.generic]] = {
        "embeddings": answers.embeddings,
        "probabilities": answers.probabilities.astype(np.float32),
        "statistics": answers.statistics,
        "correct": np.array(correct, dtype=np.uint8),
        "labels": _true_labels(test, config),
    }
    safetensors.numpy.save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()}, bundle / "reference.safetensors")


def _true_labels(test: Sequence[Sample], config: ProjectConfig) -> NDArray[np.generic]:
    if config.labels_per_sample == "one":
        return np.array([config.labels.index(sample.label) for sample in test], dtype=np.int64)
    return np.array([[label in members_of(sample.label) for label in config.labels] for sample in test], dtype=np.uint8)


def _write_goldens(bundle: Path, raw: Sequence[bytes], answers: Predictions, n_goldens: int, manifest: BundleManifest) -> None:
    folder = bundle / "goldens"
    folder.mkdir()
    goldens: list[JsonValue] = []
    for number, index in enumerate(_golden_indices(answers, n_goldens)):
        golden = Golden(file=f"{number:016x}.bin", label=answers.labels[index], probabilities=tuple(answers.probabilities[index].tolist()))
        (folder / golden.file).write_bytes(raw[index])
        goldens.append(golden.model_dump(mode="json"))
    (bundle / "goldens.json").write_bytes(canonical_json(goldens))


def _golden_indices(answers: Predictions, n_goldens: int) -> list[int]:
    """Samples away from the decision boundary first, the predicted labels in turn."""
    near_boundary = _near_boundary(answers)
    seen: dict[str, int] = {}
    keys = []
    for index, label in enumerate(answers.labels):
        keys.append((bool(near_boundary[index]), seen.get(label, 0), index))
        seen[label] = seen.get(label, 0) + 1
    return [index for _, _, index in sorted(keys)[:n_goldens]]


def _near_boundary(answers: Predictions) -> NDArray[np.bool_]:
    if answers.thresholds is None:
        ordered = np.sort(answers.probabilities, axis=1)
        return np.asarray((ordered[:, -1] - ordered[:, -2]) < _MIN_GOLDEN_MARGIN)
    # Log odds: a threshold of 0.01 has no probability that lies 0.1 below it.
    distances = np.abs(_log_odds(answers.probabilities) - _log_odds(np.asarray(answers.thresholds)))
    return np.asarray(distances.min(axis=1) < _MIN_GOLDEN_LOG_ODDS)


def _log_odds(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    inside = np.clip(probabilities, 1e-12, 1 - 1e-12)
    return np.asarray(np.log(inside) - np.log1p(-inside))


def _write_documents(bundle: Path, inputs: PackageInputs, config: ProjectConfig, selected: SelectedBackbone) -> None:
    libraries = (*_LIBRARIES, *_LIBRARIES_OF.get(config.task, ()))
    versions: dict[str, JsonValue] = {library: importlib.metadata.version(library) for library in libraries}
    lineage: dict[str, JsonValue] = {**inputs.lineage, "seed": config.seed, "versions": versions}
    lineage["config"] = config.model_dump(mode="json", include=set(LEARNING_SECTIONS), exclude=MACHINE_PATHS)
    lineage["backbone"] = selected.spec.model_dump(mode="json")
    (bundle / "lineage.json").write_bytes(canonical_json(lineage))
    (bundle / "card.md").write_text(_card(config, selected, inputs), encoding="utf-8")


def what_it_says(config: ProjectConfig) -> str:
    """What a model of this project answers, in a sentence for its card."""
    what = f"Classifies one {config.task} into" if config.labels_per_sample == "one" else f"Says of one {config.task} which it has of"
    return f"{what} {len(config.labels)} labels: {', '.join(config.labels)}."


def _card(config: ProjectConfig, selected: SelectedBackbone, inputs: PackageInputs) -> str:
    kept = json.loads((inputs.trained / "training.json").read_bytes()).get("kept")
    return "\n".join(
        [
            f"# {config.project}",
            "",
            what_it_says(config),
            "",
            f"- Backbone: {selected.spec.name} ({selected.spec.origin}, licence {selected.spec.licence})",
            f"- Method: {config.method.kind}{f', which kept {kept}' if kept else ''}, seed {config.seed}",
            f"- Dataset digest: {inputs.lineage.get('dataset', 'unknown')}",
            "- Measured results: `card.md` and `evaluation.json` beside the registered bundle; they are taken from this very bundle.",
            "- Limits: trained on the domains of its dataset only; the goldens and the drift reference hold test samples of that dataset.",
            "",
        ]
    )
